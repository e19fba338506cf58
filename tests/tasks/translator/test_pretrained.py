"""Published backbones that translate: their tokens, the same scores with caches as without, and the whole line."""

import json

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import ops
from presets import write_encoder, write_encoder_decoder

from pipelines.data.batches import padded
from pipelines.errors import UserError
from pipelines.presets import ENCODERS, open_preset
from pipelines.tasks.translator.losses import cross_entropy
from pipelines.tasks.translator.models import MODELS
from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.text.beam_search import beam_search
from pipelines.text.tokenizers import END, PAD, START
from pipelines.training.pretrained import load_pretrained_weights

PAIRS = pd.DataFrame(
    {
        "source": ["two cats", "a dog  sat on Rome", "three dogs and a cat", "one"] * 5,
        "target": ["deux chats", "un chien \u00e0 Rome", "trois chiens et un chat", "un"] * 5,
    }
)
TEXTS = [*PAIRS["source"][:4], *PAIRS["target"][:4], "translate English to French:"]
WORDS = sorted({word for text in TEXTS for word in text.split()})
KIND = "encoder-decoder or encoder model"
PREFIX = "translate English to French: "
FINE_TUNING = {
    "freeze": False,
    "unfreeze_after_epochs": 0,
    "backbone_learning_rate": None,
    "layer_decay": 1.0,
    "lora_rank": None,
}
DECODER = {"decoder_layers": 2, "width": 8, "heads": 2, "feed_forward_units": 12, "dropout": 0.1}
GATED = {"use_gated_activation": True, "activation": "gelu", "tie_embedding_weights": False}
VARIANTS = {
    "T5": lambda folder: write_encoder_decoder(folder, "T5", TEXTS, use_gated_activation=False),
    "T5_gated": lambda folder: write_encoder_decoder(folder, "T5", TEXTS, **GATED),
    "Bart": lambda folder: write_encoder_decoder(folder, "Bart", TEXTS),
    **{family: lambda folder, family=family: write_encoder(folder, family, WORDS) for family in ENCODERS},
}
QUICK = ("T5", "Bart", "Bert", "Roberta")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
MOST = 12  # tokens of a text


def read(folder, name, **settings):
    """Write a preset and adapt a preprocessor to it."""
    preset = open_preset(str(VARIANTS[name](folder / name)), KIND, "pretrained")
    level = {"level": "word", "vocabulary": 40, "algorithm": "unigram", "split_digits": True, "shared": True}
    preprocessor = PairPreprocessor(preset, **{**level, "lower_case": False, "longest": MOST, **settings})
    preprocessor.adapt(PAIRS)
    return preset, preprocessor


def make(preset, preprocessor, **settings):
    model = MODELS["pretrained"](preprocessor.features, preset=preset.name, **{**DECODER, **FINE_TUNING, **settings})
    load_pretrained_weights(model)
    return model


@pytest.fixture(scope="module", params=ALL)
def made(request, tmp_path_factory):
    """A preset, its preprocessor, its model, and token ids of a batch."""
    preset, preprocessor = read(tmp_path_factory.mktemp("presets"), request.param)
    model = make(preset, preprocessor)
    raw = {side: tf.constant(PAIRS[side][:4].tolist()) for side in PAIRS}
    return preset, preprocessor, model, padded(preprocessor.example(raw, training=False))


def scores(model, inputs):
    return ops.convert_to_numpy(model.scores(model(inputs, training=False)))


def test_a_cache_changes_no_score(made):
    _, _, model, (inputs, _, _) = made
    whole, target = scores(model, inputs), inputs["target"]
    state, parts = model.start({"source": inputs["source"]}, target.shape[1]), []
    for span in (slice(0, 2), slice(2, 3), slice(3, None)):
        part, state = model.step(target[:, span], state)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-4)
    assert np.std(whole[whole > -1e8]) > 0.1


def test_padding_changes_nothing(made):
    _, preprocessor, model, (inputs, _, _) = made
    together = scores(model, inputs)
    for row in range(4):
        alone = {side: ids[row : row + 1, : np.count_nonzero(ids[row])] for side, ids in inputs.items()}
        length = alone["target"].shape[1]
        np.testing.assert_allclose(together[row : row + 1, :length], scores(model, alone), rtol=1e-4, atol=1e-4)


def test_attention_weights_are_those_that_the_scores_come_from(made):
    """Without the source token that a target token attends to most, its score changes."""
    _, _, model, (inputs, _, _) = made
    layers = [ops.convert_to_numpy(each) for each in model.attention(inputs["source"], inputs["target"])]
    assert len(layers) == 2
    real = (inputs["source"] != PAD).numpy()
    for weights in layers:
        assert weights.shape == (4, 2, inputs["target"].shape[1], inputs["source"].shape[1])
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert (weights * ~real[:, None, None]).max() < 1e-6
