"""Published backbones that translate: their tokens, the same scores with caches as without, and the whole line."""

import json
import shutil
from pathlib import Path

import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import invoke
from interrupted import Interrupted, interrupt_after
from keras import ops
from presets import FINE_TUNING, write_causal, write_encoder, write_encoder_decoder
from tiny import TRACED_ONCE
from uncached import Uncached

from pipelines.commands.train import train
from pipelines.data.batches import padded
from pipelines.errors import UserError
from pipelines.presets import ENCODERS, open_preset
from pipelines.runs.run import Run
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
CONFIG = Path(__file__).parents[3] / "configs" / "translator.yaml"
KIND = "encoder-decoder or encoder model"
PREFIX = "translate English to French: "
DECODER = {"decoder_layers": 2, "width": 8, "heads": 2, "feed_forward_units": 12, "dropout": 0.1}
GATED = {"use_gated_activation": True, "activation": "gelu", "tie_embedding_weights": False}
VARIANTS = {
    "T5": lambda folder: write_encoder_decoder(folder, "T5", TEXTS, use_gated_activation=False),
    "T5_gated": lambda folder: write_encoder_decoder(folder, "T5", TEXTS, **GATED),
    "Bart": lambda folder: write_encoder_decoder(folder, "Bart", TEXTS),
    **{family: lambda folder, family=family: write_encoder(folder, family, WORDS) for family in ENCODERS},
}
QUICK = ("T5", "Bart", "Bert")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
MOST = 12  # tokens of a text


def read(folder, name, **settings):
    """Write a preset and adapt a preprocessor to it."""
    preset = open_preset(str(VARIANTS[name](folder / name)), KIND, "models.pretrained.preset")
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
    _, _, model, (inputs, _, _) = made
    together = scores(model, inputs)
    for row in range(4):
        alone = {side: ids[row : row + 1, : np.count_nonzero(ids[row])] for side, ids in inputs.items()}
        length = alone["target"].shape[1]
        np.testing.assert_allclose(together[row : row + 1, :length], scores(model, alone), rtol=1e-4, atol=1e-4)


def test_each_target_token_attends_to_the_source_alone(made):
    _, _, model, (inputs, _, _) = made
    layers = [ops.convert_to_numpy(each) for each in model.attention(inputs["source"], inputs["target"])]
    assert len(layers) == 2
    real = (inputs["source"] != PAD).numpy()
    for weights in layers:
        assert weights.shape == (4, 2, inputs["target"].shape[1], inputs["source"].shape[1])
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert (weights * ~real[:, None, None]).max() < 1e-6


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_caches_change_no_translation(made, beams):
    _, _, model, (inputs, _, _) = made

    def search(model):
        most = tf.constant([7, 4, 9, 5])
        start, one = tf.fill([4, 1], START), tf.ones([4], tf.int32)
        return tf.function(lambda: beam_search(model, {"source": inputs["source"]}, start, one, most, beams, 0.6))()

    cached, uncached = search(model), search(Uncached(model))
    np.testing.assert_array_equal(cached.tokens, uncached.tokens)
    np.testing.assert_allclose(cached.scores, uncached.scores, rtol=1e-4)


@pytest.mark.slow
def test_the_tokens_are_those_of_keras_hub(made):
    preset, preprocessor, *_ = made
    texts = [
        "two cats",
        "",
        "a dog on Rome and three cats, and one dog more than that",
        "d\u00e9j\u00e0 vu, \u6f22 [SEP] </s> 12",
    ]
    name = "Bert" if preset.family == "Electra" else preset.family  # KerasHub has none for ELECTRA
    ours = preprocessor.encode("source", tf.constant(texts)).to_list()
    assert max(map(len, ours)) == MOST
    if preset.family in ENCODERS:
        theirs = getattr(keras_hub.models, f"{name}TextClassifierPreprocessor")(preset.tokenizer, sequence_length=MOST)
        read = tf.function(theirs)(tf.constant(texts))
        rows = zip(read["token_ids"].numpy(), read["padding_mask"].numpy(), strict=True)
        assert [[each - 1 for each in row] for row in ours] == [ids[mask].tolist() for ids, mask in rows]
        return
    theirs = getattr(keras_hub.models, f"{name}Seq2SeqLMPreprocessor")
    theirs = theirs(preset.tokenizer, encoder_sequence_length=MOST, decoder_sequence_length=3 * MOST)
    targets = tf.constant(PAIRS["target"][:4].tolist())
    x, y, weights = tf.function(theirs)({"encoder_text": tf.constant(texts), "decoder_text": targets})
    published = preprocessor.tokenizers["source"].published
    masks = x["encoder_padding_mask"].numpy()
    source = [ids[mask].tolist() for ids, mask in zip(x["encoder_token_ids"].numpy(), masks, strict=True)]
    assert [published[row].tolist() for row in ours] == source
    inputs, labels, _ = preprocessor.example({"source": tf.constant(texts), "target": targets}, training=False)
    begin = {"T5": ([START], []), "Bart": ([END, START], [START])}[preset.family]
    for row, target in enumerate(labels.to_list()):
        assert inputs["target"][row].numpy().tolist() == [START, *target[:-1]]
        read, wanted = ([*before, *target] for before in begin)
        assert published[read].tolist() == x["decoder_token_ids"][row, : len(read)].numpy().tolist()
        assert published[wanted].tolist() == y[row][weights[row]].numpy().tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["T5", "Bart", "Bert"])
def test_targets_come_back_in_their_case(name, tmp_path):
    _, preprocessor = read(tmp_path, name, prefix=PREFIX, longest=60)
    ids = preprocessor.encode("target", tf.constant(["un chien  \u00e0 Rome"]))
    assert preprocessor.decode(padded(ids)).numpy()[0].decode() == "un chien \u00e0 Rome"
    prefixed = preprocessor.encode("source", tf.constant(["one"])).to_list()
    preprocessor.prefix = ""
    assert preprocessor.encode("source", tf.constant([PREFIX + "one"])).to_list() == prefixed
    assert preprocessor.encode("source", tf.constant(["one"])).to_list() != prefixed


def test_the_model_is_the_published_one(made):
    preset, preprocessor, model, (inputs, labels, weights) = made
    if preset.family in ENCODERS:
        backbone = preset.make_backbone()
        preset.load_weights(backbone, "models.pretrained.preset")
        published = {weight.path: weight.numpy() for weight in backbone.weights}
        for weight in (each for layer in model.pretrained.layers for each in layer.weights):
            np.testing.assert_array_equal(weight.numpy(), published[weight.path])
        return
    network, tokenizer = preset.make_seq_2_seq_lm(), preprocessor.tokenizers["source"]
    preset.load_weights(network.backbone, "models.pretrained.preset")
    before = np.full((4, int(preset.family == "Bart")), END)
    given = {"encoder": np.array(inputs["source"]), "decoder": np.concatenate([before, inputs["target"]], axis=1)}
    read = {f"{side}_token_ids": tokenizer.published[ids] for side, ids in given.items()}
    read |= {f"{side}_padding_mask": (ids != PAD).astype("int32") for side, ids in given.items()}
    published = ops.convert_to_numpy(network(read, training=False))[:, before.shape[1] :]
    own, known, real = scores(model, inputs), ~tokenizer.absent, np.array(weights) > 0
    expected = published[..., tokenizer.published[known]]
    np.testing.assert_allclose(own[..., known][real], expected[real], rtol=1e-4, atol=1e-4)
    assert (own[..., ~known] < -1e8).all() and own.shape[-1] == tokenizer.size

    model.compile(loss=cross_entropy(label_smoothing=0.2))
    loss = float(model.compute_loss(y=labels, y_pred=model(inputs, training=False), sample_weight=weights))
    logarithms = tf.nn.log_softmax(own).numpy()
    smoothed = np.eye(tokenizer.size)[labels] * 0.8 + 0.2 * known / known.sum()
    assert loss == pytest.approx(-(smoothed * np.where(known, logarithms, 0)).sum(axis=2)[real].mean(), rel=1e-4)


@pytest.mark.slow
def test_settings_decide_what_is_trained(tmp_path):
    preset, preprocessor = read(tmp_path, "Bart")
    assert not make(preset, preprocessor, freeze=True).trainable_variables
    model = make(preset, preprocessor, layer_decay=0.5, backbone_learning_rate=1e-4)
    factors = model.pretrained.learning_rate_factors(1e-3)
    of = {path.split("/")[0]: factor for path, factor in factors.items()}
    assert of["token_embedding"] == of["decoder_position_embedding"] == pytest.approx(0.1 * 0.5**4)
    assert of["transformer_encoder_layer_1"] == pytest.approx(0.1 * 0.5**2)
    assert of["transformer_decoder_layer_1"] == pytest.approx(0.1)
    with pytest.raises(UserError, match=r"unfreeze_after_epochs: must be 0 for Bart"):
        make(preset, preprocessor, unfreeze_after_epochs=1)
    for model in (make(preset, preprocessor, lora_rank=2), make(*read(tmp_path, "T5"), lora_rank=2)):
        names = [variable.name for variable in model.trainable_variables if variable.name != "bias"]
        assert set(names) == {"lora_kernel_a", "lora_kernel_b"} and len(names) == 2 * 2 * 6  # 6 attentions


def test_what_does_not_fit_a_preset_is_refused_in_one_line(tmp_path):
    for name, most in (("Bart", 63), ("Bert", 64)):
        preset, preprocessor = read(tmp_path, name, longest=most + 1)
        with pytest.raises(UserError, match=rf"preprocessing\.longest: must be at most {most} for this preset"):
            make(preset, preprocessor)
    with pytest.raises(UserError, match=r"models\.pretrained\.heads: the width 8 must be a multiple of the heads, 3"):
        make(*read(tmp_path, "Bert"), heads=3)
    folder = write_causal(tmp_path / "gpt2")
    with pytest.raises(UserError, match=r"is a GPT2 model, but this takes encoder-decoder or encoder models: Bart, T5"):
        open_preset(str(folder), KIND, "models.pretrained.preset")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("Bart", ["models.pretrained.lora_rank=2"]),
        ("T5", [f"preprocessing.prefix='{PREFIX}'"]),
        ("Roberta", ["models.pretrained.unfreeze_after_epochs=1"]),
    ],
)
def test_the_whole_line(name, more, tmp_path, monkeypatch):
    preset = tmp_path / "preset"
    if name in ENCODERS:
        write_encoder(preset, name, WORDS)
    else:
        write_encoder_decoder(preset, name, TEXTS, num_layers=1)  # more take long to trace
    chosen = [*settings(tmp_path, preset), *more]
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, chosen, tmp_path / "run")
    train(CONFIG, chosen, tmp_path / "run", resume=True)
    losses = Run(tmp_path / "run").history()["loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    shutil.rmtree(preset)  # a run needs it no more
    exported = invoke("export", tmp_path / "run", "--to", tmp_path / "export")  # compares the answers
    assert exported.exit_code == 0, exported.output
    assert json.loads((tmp_path / "export" / "1" / "parity.json").read_text())["compared"]
    answers = [
        invoke("predict", where, "two cats", "one", "--json") for where in (tmp_path / "run", tmp_path / "export")
    ]
    one, other = (json.loads(answer.stdout) for answer in answers)
    assert one == other and len(one) == 2


def settings(folder, preset):
    """Say where the pairs and the preset are, and train in seconds."""
    lines = [
        "\t".join((f"{source} {number}", f"{target} {number}"))
        for number in range(12)
        for source, target in PAIRS.values[:4]
    ]
    (folder / "pairs.tsv").write_text("\n".join(lines))
    data = f"data={{source: files, from_language: en, to_language: fr, root: '{folder}', path: pairs.tsv,"
    data += " most_characters: 80, most_ratio: 3.0}"
    sizes = [f"models.pretrained.{name}={value}" for name, value in DECODER.items()]
    return [
        data,
        "model=pretrained",
        f"models.pretrained.preset={preset}",
        "models.pretrained.backbone_learning_rate=0.01",
        *sizes,
        "preprocessing.level=word",
        "preprocessing.longest=24",
        "batches.tokens=256",
        "training.epochs=2",
        TRACED_ONCE,
        "decoding={beams: 2, length_penalty: 0.6, length_ratio: 1.0, extra_tokens: 2}",
    ]


@pytest.mark.slow
def test_a_run_starts_from_another_and_learns_from_another(tmp_path):
    """A preset of the same tokens may teach; one of other tokens is refused."""
    preset = VARIANTS["T5"](tmp_path / "t5")
    train(CONFIG, settings(tmp_path, preset), tmp_path / "first")
    _, begun = train(CONFIG, [*settings(tmp_path, preset), f"start={tmp_path / 'first'}"], tmp_path / "second")
    assert begun.history()["loss"].iloc[0] < Run(tmp_path / "first").history()["loss"].iloc[0]
    other = write_encoder_decoder(tmp_path / "other", "T5", TEXTS, use_gated_activation=False, hidden_dim=12)
    distill = f"distill={{teacher: {tmp_path / 'first'}, weight: 1.0}}"
    _, taught = train(CONFIG, [*settings(tmp_path, other), distill], tmp_path / "third")
    losses = taught.history()["loss"]
    assert 0 < losses.iloc[-1] < losses.iloc[0]
    for wrong in (VARIANTS["Bart"](tmp_path / "bart"), VARIANTS["Bert"](tmp_path / "bert")):
        with pytest.raises(UserError, match="it has other tokens"):
            train(CONFIG, [*settings(tmp_path, wrong), distill], tmp_path / "wrong")
        with pytest.raises(UserError, match=r"models\.pretrained\.preset is .*t5 there and .* here"):
            train(CONFIG, [*settings(tmp_path, wrong), f"start={tmp_path / 'first'}"], tmp_path / "wrong")
