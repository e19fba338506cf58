"""Tiny backbones of random weights, saved as presets, so that no test needs a network."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import sentencepiece
from keras_hub.src.tokenizers.byte_pair_tokenizer import bytes_to_unicode

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


def write_encoder(folder: Path, family: str, words: Sequence[str], length: int = 64) -> Path:
    """Write a text encoder of two layers of a family such as `Roberta`, with a tokenizer of the kind that it uses."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    own = {"Albert": {"embedding_dim": 8}, "Electra": {"embedding_dim": 8}, "DebertaV3": {"bucket_size": 8}}
    sizes |= {"max_sequence_length": length, **own.get(family, {})}
    tokenizer = _tokenizer(family, words)
    count = {"vocab_size" if family == "Electra" else "vocabulary_size": tokenizer.vocabulary_size()}
    keras.utils.set_random_seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**count, **sizes)
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def _tokenizer(family: str, words: Sequence[str]) -> keras_hub.tokenizers.Tokenizer:
    kind = getattr(keras_hub.models, f"{family}Tokenizer")
    if family == "Roberta":
        return kind(**byte_pairs(words, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
    if family in ("Albert", "XLMRoberta", "DebertaV3"):
        return kind(proto=sentence_pieces(words, family))
    letters = sorted({letter for word in words for letter in word.lower()})
    lower = [word.lower() for word in words]
    pieces = [*SPECIAL, *dict.fromkeys([*lower, *letters]), *(f"##{letter}" for letter in letters)]
    return kind(vocabulary=pieces, lowercase=True)


def byte_pairs(words: Sequence[str], special: Sequence[str]) -> dict[str, Any]:
    """Return vocabulary and merges of a byte-level tokenizer: every byte, and each word after a space as one piece."""
    _, bytes_as_letters = bytes_to_unicode()
    vocabulary, merges = [*special, *bytes_as_letters], []
    for word in words:
        joined = "\u0120"  # how the space is written
        for letter in word:
            merges.append(f"{joined} {letter}")
            joined += letter
            vocabulary.append(joined)
    vocabulary = list(dict.fromkeys(vocabulary))
    return {"vocabulary": {piece: at for at, piece in enumerate(vocabulary)}, "merges": list(dict.fromkeys(merges))}


def sentence_pieces(words: Sequence[str], family: str) -> bytes:
    """Train a small SentencePiece model whose special pieces are those of a family."""
    special = {
        "Albert": {"pad_id": 0, "pad_piece": "<pad>", "unk_id": 1, "bos_id": 2, "eos_id": 3},
        "DebertaV3": {"pad_id": 0, "pad_piece": "[PAD]", "bos_id": 1, "eos_id": 2, "unk_id": 3},
        "XLMRoberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    }[family]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 20),
        model_writer=model,
        vocab_size=4 + len({letter for word in words for letter in word}) + 12,
        hard_vocab_limit=False,
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
        **special,
    )
    return model.getvalue()


TINY: dict[str, Callable[[Path], Path]] = {  # a family of each kind of `presets.KINDS`
    "text encoder": write_bert,
    "image backbone": write_efficientnet,
}
