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


TINY: dict[str, Callable[[Path], Path]] = {"text encoder": write_bert}  # a family of each kind of `presets.KINDS`
