"""Every rung on padded sentences, on vectors from a file, and with each of its settings."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from archives import broken_archive

from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.data.batches import padded, tensors
from pipelines.errors import UserError
from pipelines.layers.transformer import encoder_attention
from pipelines.tasks.entity_tagger.layers import WordDropout
from pipelines.tasks.entity_tagger.models import MODELS
from pipelines.tasks.entity_tagger.pictures import draw_inside
from pipelines.tasks.entity_tagger.preprocessing import UNKNOWN, SentencePreprocessor
from pipelines.tasks.entity_tagger.task import TASK
from pipelines.training.pretrained import PretrainedModel, load_pretrained_weights

ROWS = pd.DataFrame(
    {
        "tokens": [["Ann", "met", "Bob", "Lee", "in", "Oslo"], ["Hi"], ["A-very-long-name", "went", "."]],
        "tags": [["B-PER", "O", "B-PER", "I-PER", "O", "B-LOC"], ["O"], ["B-PER", "O", "O"]],
    }
)
CONFIG = load_config(shipped_config("entity_tagger"))
VARIANTS = {
    "a one-hot window": ("window", {"encoding": "one_hot", "units": [8, 4]}),
    "an embedded window of all inputs": (
        "window",
        {"characters": "lstm", "casing_width": 3, "affix_width": 2, "crf": True},
    ),
    "deep, both ways, variational": ("gru", {"layers": 2, "bidirectional": True, "variational": True, "l2": 0.01}),
    "characters by LSTM": ("lstm", {"characters": "lstm"}),
}


def prepared(**settings) -> SentencePreprocessor:
    made = SentencePreprocessor(**{**CONFIG.preprocessing, **settings})
    made.adapt(ROWS)
    return made


def build(name: str, preprocessor: SentencePreprocessor, **settings) -> keras.Model:
    model = MODELS[name](preprocessor.features, **{**CONFIG.models[name], **settings})
    for weight in model.trainable_variables:  # so that no part is silent at its start
        weight.assign_add(np.random.default_rng(0).normal(size=weight.shape, scale=0.1))
    return model


# `pretrained` needs a preset: test_pretrained.py tests the same for each family
@pytest.mark.parametrize("variant", [*(name for name in MODELS if name != "pretrained"), *VARIANTS])
def test_a_padded_batch_gives_each_sentence_what_it_gets_alone(variant):
    name, settings = VARIANTS.get(variant, (variant, {}))
    preprocessor = prepared()
    model = build(name, preprocessor, **settings)
    loss = TASK.losses["negative_log_likelihood"]()

    def run(rows: pd.DataFrame):
        inputs, labels, weights = padded(preprocessor.example(tensors(rows), training=False))
        outputs = model(inputs, training=False)
        answer = TASK.answer_inputs(model, preprocessor, inputs, outputs)
        return float(loss(labels, outputs, weights)), answer["tags"].numpy(), answer["probabilities"].numpy()

    mean, tags, probabilities = run(ROWS)
    alone = [run(ROWS.iloc[[row]]) for row in range(len(ROWS))]
    lengths = ROWS["tokens"].map(len)
    assert mean == pytest.approx(np.average([each[0] for each in alone], weights=lengths), rel=1e-4)
    for row, length in enumerate(lengths):
        assert tags[row, :length].tolist() == alone[row][1][0].tolist()
        assert set(tags[row, length:]) <= {b""}
        np.testing.assert_allclose(probabilities[row, :length], alone[row][2][0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("window", set()), ("rnn", set()), ("gru", {"gates"}), ("lstm", {"gates"}), ("transformer", {"attention"})],
)
def test_the_inside_of_a_model_is_drawn_if_it_has_gates_or_attention(name, shown):
    preprocessor = prepared()
    assert set(draw_inside(build(name, preprocessor), preprocessor, ROWS["tokens"])) == shown


def test_each_token_attends_to_all_of_its_sentence():
    preprocessor = prepared()
    model = build("transformer", preprocessor, layers=2, heads=2)
    maps = encoder_attention(
        model, padded(preprocessor.inputs({"tokens": tf.constant(ROWS["tokens"].iloc[:1].tolist())}))
    )
    assert [each.shape for each in maps] == [(1, 2, 6, 6)] * 2
    for each in maps:
        np.testing.assert_allclose(np.sum(each, axis=-1), 1, rtol=1e-5)
        assert np.min(each) > 0 and np.ptp(each) > 0.01


def test_a_model_starts_from_the_vectors_of_a_file(tmp_path):
    (tmp_path / "v.txt").write_text("3 2\nann 1 2\nnever 3 4\nodd 5 6\n")
    preprocessor = prepared(vectors=str(tmp_path / "v.txt"))
    model = MODELS["lstm"](preprocessor.features, **{**CONFIG.models["lstm"], "word_width": 2})
    assert isinstance(model, PretrainedModel)
    load_pretrained_weights(model)
    table = model.get_layer("word_embedding").get_weights()[0]
    ids = preprocessor.inputs({"tokens": tf.constant([["Ann", "Never", "other"]])})["words"].to_list()[0]
    np.testing.assert_array_equal(table[ids[:2]], [[1, 2], [3, 4]])
    assert ids[2] == UNKNOWN


BAD = {
    "another width": ("ann 1 2 3\n", "v.txt:1: has 3 numbers, but the model's word vectors have 2; set word_width: 3"),
    "a shorter line": ("ann 1 2\nbob 1\n", "v.txt:2: has 1 number, but the model's word vectors have 2"),
    "no numbers": ("2 2\nann 1 2\nbob one two\n", "v.txt:3: 'bob' is followed by something that is not a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_vectors_that_do_not_fit_are_named(case, tmp_path):
    content, message = BAD[case]
    (tmp_path / "v.txt").write_text(content)
    preprocessor = prepared(vectors=str(tmp_path / "v.txt"))
    model = MODELS["lstm"](preprocessor.features, **{**CONFIG.models["lstm"], "word_width": 2})
    with pytest.raises(UserError, match=message):
        load_pretrained_weights(model)


def test_words_of_a_file_are_looked_up_as_tokens_are_and_may_hold_blanks(tmp_path):
    (tmp_path / "v.txt").write_text("\ufeff5 2\nAnn 1 2\nann 3 4\nOSLO 5 6\n1999 7 8\n. . . 9 10\n", encoding="utf-8")
    preprocessor = prepared(vectors=str(tmp_path / "v.txt"))
    model = MODELS["lstm"](preprocessor.features, **{**CONFIG.models["lstm"], "word_width": 2})
    load_pretrained_weights(model)
    table = model.get_layer("word_embedding").get_weights()[0]
    ids = preprocessor.inputs({"tokens": tf.constant([["ann", "Oslo", "1234"]])})["words"].to_list()[0]
    np.testing.assert_array_equal(table[ids], [[1, 2], [5, 6], [7, 8]])


def test_vectors_that_are_missing_or_binary_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot read these word vectors"):
        prepared(vectors=str(tmp_path / "none.txt"))
    (tmp_path / "v.gz").write_bytes(broken_archive())
    with pytest.raises(UserError, match="cannot read these word vectors"):
        prepared(vectors=str(tmp_path / "v.gz"))
    (tmp_path / "v.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not in the binary one"):
        prepared(vectors=str(tmp_path / "v.bin"))


def test_word_dropout_hides_words_in_training_only_and_never_padding():
    ids = np.array([[5, 6, 0]] * 200)
    layer = WordDropout(0.5)
    np.testing.assert_array_equal(layer(ids), ids)
    hidden = np.array(layer(ids, training=True))
    assert set(hidden[:, 2]) == {0} and set(hidden[:, 0]) == {5, UNKNOWN}
    assert 0.35 < (hidden[:, :2] == UNKNOWN).mean() < 0.65
