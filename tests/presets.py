"""Tiny backbones of random weights, saved as presets, so that no test needs a network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import keras_hub

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_bert(
    folder: Path, words: Sequence[str] = "The quick brown fox".lower().split(), width: int = 16, length: int = 64
) -> Path:
    """Write a BERT of two layers, whose vocabulary is some words and the pieces of every other."""
    letters = sorted({letter for word in words for letter in word})
    pieces = [*SPECIAL, *dict.fromkeys([*words, *letters]), *(f"##{letter}" for letter in letters)]
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(pieces),
        num_layers=2,
        num_heads=2,
        hidden_dim=width,
        intermediate_dim=2 * width,
        max_sequence_length=length,
    )
    backbone.save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True).save_to_preset(str(folder))
    return folder


def write_efficientnet(folder: Path) -> Path:
    """Write an EfficientNet of three blocks with dropout, whose images are scaled to -1 to 1."""
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3, 3, 5],
        stackwise_num_repeats=[1, 1, 2],
        stackwise_input_filters=[8, 8, 8],
        stackwise_output_filters=[8, 8, 16],
        stackwise_expansion_ratios=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.0] * 3,
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=["v1", "unfused", "unfused"],
        dropout=0.5,
    )
    return _with_scaling(folder, backbone, "EfficientNet", scale=1 / 127.5, offset=-1.0)


def write_resnet(folder: Path) -> Path:
    """Write a ResNet of two stages, whose channels are scaled each in its own way."""
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    return _with_scaling(folder, backbone, "ResNet", scale=[0.01, 0.02, 0.03], offset=[-1.0, -2.0, -3.0])


def write_vit(folder: Path, image_size: int = 16) -> Path:
    """Write a ViT of two blocks, without image scaling."""
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(image_size, image_size, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16
    )
    backbone.save_to_preset(str(folder))
    return folder


def _with_scaling(folder: Path, backbone: keras_hub.models.Backbone, family: str, **scaling: float | list) -> Path:
    backbone.save_to_preset(str(folder))
    getattr(keras_hub.layers, f"{family}ImageConverter")(image_size=(16, 16), **scaling).save_to_preset(str(folder))
    return folder


TINY: dict[str, Callable[[Path], Path]] = {  # a family of each kind of `presets.KINDS`
    "text encoder": write_bert,
    "image backbone": write_efficientnet,
}
