"""Published causal language models: their tokens, the same scores with a cache as without, and the whole line."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import invoke, sets
from keras import ops
from presets import CAUSAL, FINE_TUNING, write_causal

from pipelines.errors import UserError
from pipelines.presets import Preset, open_preset
from pipelines.tasks.language_model.models import MODELS
from pipelines.tasks.language_model.preprocessing import Features
from pipelines.text.published import PublishedTokenizer
from pipelines.text.tokenizers import END, START
from pipelines.training.pretrained import load_pretrained_weights

CONFIG = Path(__file__).parents[3] / "configs" / "language_model.yaml"
VERSES = "".join(f"the {number % 7} cats sat on the mat, and the {number % 5} dogs ran.\n" for number in range(300))
ODD = ["the cat  sat", "", " on the\n\n  mat 12345", "déjà vu, 漢字 <|endoftext|> 😀"]


QUICK = ("GPT2", "Llama", "Gemma3")
FAMILIES = [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in CAUSAL]


@pytest.fixture(scope="module", params=FAMILIES)
def preset(request, tmp_path_factory) -> Preset:
    folder = write_causal(tmp_path_factory.mktemp("presets") / request.param, request.param)
    return open_preset(str(folder), "causal language model", "models.pretrained.preset")


def make(preset, context=12, **settings):
    keras.utils.set_random_seed(0)
    tokenizer = PublishedTokenizer(preset)
    features = Features(tokenizer.size, context, lambda: np.zeros(0), tokenizer)
    model = MODELS["pretrained"](features, preset=preset.name, **{**FINE_TUNING, **settings})
    load_pretrained_weights(model)
    return model, tokenizer


def test_the_scores_are_those_of_the_published_model_and_a_cache_changes_nothing(preset):
    model, tokenizer = make(preset)
    tokens = tf.constant(np.random.default_rng(0).integers(4, tokenizer.size, (2, 9)), tf.int32)
    whole = ops.convert_to_numpy(model({"tokens": tokens}, training=False))
    state, parts = model.start(2, 12), []
    for span in (slice(0, 4), slice(4, 5), slice(5, 9)):
        part, state = model.step(tokens[:, span], state)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-4)

    network = preset.make_causal_lm()
    preset.load_weights(network.backbone, "models.pretrained.preset")
    hub, ids = preset.tokenizer, tokenizer.published[tokens.numpy()]
    start = getattr(hub, "start_token_id", None)
    if start is not None:
        ids = np.concatenate([np.full((2, 1), start), ids], axis=1)
    published = network({"token_ids": ids, "padding_mask": np.ones_like(ids)}, training=False)
    published = ops.convert_to_numpy(published)[:, -9:][..., tokenizer.published]
    known = ~tokenizer.absent
    np.testing.assert_allclose(whole[..., known], published[..., known], rtol=1e-4, atol=1e-4)
    assert (whole[..., ~known] < -1e8).all()


def test_texts_become_the_published_tokens_and_are_read_back(preset):
    tokenizer = PublishedTokenizer(Preset.restore(preset.state()))
    encode = tf.function(tokenizer.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    ids = encode(tf.constant(ODD))
    assert [row.tolist() for row in tokenizer.encode(tf.constant(ODD)).numpy()] == [row.tolist() for row in ids.numpy()]
    read = [text.decode() for text in tokenizer.decode(ids.to_tensor()).numpy()]
    if hasattr(preset.tokenizer, "merges"):
        special = "<|endoftext|>" if tokenizer.bytes[END] == b"" and END in ids.flat_values.numpy() else ""
        assert read == [text.replace(special, "") if special else text for text in ODD]
        assert [sum(tokenizer.characters[row]) for row in ids.numpy()[:3]] == [len(text) for text in ODD[:3]]
    else:
        raw = preset.tokenizer._sentence_piece_spm
        assert [tokenizer.published[row].tolist() for row in ids.numpy()] == [raw.encode(text) for text in ODD]
        assert read == [f" {text}" if text else "" for text in ODD]  # these models write a space before each text
    assert tokenizer.published[END] == preset.tokenizer.end_token_id
    assert tokenizer.before in (None, START, END)
    assert len(set(tokenizer.published[~tokenizer.absent])) == preset.tokenizer.vocabulary_size()


def overrides(folder, preset, *more):
    (folder / "verses.txt").write_text(VERSES)
    return [
        f"data={{source: files, root: '{folder}', path: verses.txt}}",
        "model=pretrained",
        f"models.pretrained.preset={preset}",
        "models.pretrained.backbone_learning_rate=0.01",
        f"preprocessing.token_folder={folder}/tokens",
        "preprocessing.context=16",
        "batches.size=8",
        "batches.steps=10",
        "training.execution={jit_compile: false, steps_per_execution: 10}",
        "decoding.max_tokens=20",
        *more,
    ]


def test_settings_decide_what_is_trained(tmp_path):
    preset = open_preset(str(write_causal(tmp_path / "gpt2")), "causal language model", "models.pretrained.preset")
    model, _ = make(preset, freeze=True)
    assert not model.trainable_variables
    model, _ = make(preset, lora_rank=2)
    names = {variable.name for variable in model.trainable_variables}
    assert {"lora_kernel_a", "lora_kernel_b"} <= names and not names & {"kernel", "embeddings"}
    model, _ = make(preset, layer_decay=0.5, backbone_learning_rate=1e-4)
    factors = model.pretrained.learning_rate_factors(1e-3)
    of = {path.split("/")[0]: factor for path, factor in factors.items()}
    expected = {"token_embedding": 0.0125, "transformer_layer_0": 0.025, "transformer_layer_1": 0.05, "layer_norm": 0.1}
    assert {name: of[name] for name in expected} == pytest.approx(expected)
    with pytest.raises(UserError, match=r"unfreeze_after_epochs: must be 0"):
        make(preset, unfreeze_after_epochs=1)
    with pytest.raises(UserError, match=r"preprocessing\.context: must be at most 127"):
        make(preset, context=128)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "more"), [("GPT2", []), ("Llama", ["models.pretrained.lora_rank=2"])])
def test_a_preset_is_fine_tuned_resumed_exported_and_asked(family, more, tmp_path):
    preset = write_causal(tmp_path / "preset", family, VERSES.splitlines()[:35])
    run, wanted = tmp_path / "run", overrides(tmp_path, preset, "training.epochs=2", *more)
    first = invoke("train", CONFIG, *sets(overrides(tmp_path, preset, *more, "training.epochs=1")), "--run-dir", run)
    assert first.exit_code == 0, first.output
    resumed = invoke("train", CONFIG, *sets(wanted), "--run-dir", run, "--resume")
    assert resumed.exit_code == 0, resumed.output
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert metrics["loss"] < 4 and metrics["word_perplexity"] > 1
    (tmp_path / "preset").rename(tmp_path / "gone")  # a run needs no preset
    exported = invoke("export", run, "--to", tmp_path / "exports")
    assert exported.exit_code == 0, exported.output
    parity = json.loads((tmp_path / "exports" / "1" / "parity.json").read_text())
    assert parity["compared"]
    answers = [invoke("predict", where, "the 3 cats", "the", "--json") for where in (run, tmp_path / "exports" / "1")]
    assert all(answer.exit_code == 0 for answer in answers), [answer.output for answer in answers]
    one, other = (json.loads(answer.stdout) for answer in answers)
    assert one == other and one[0]["completion"] and len(one[0]["next_tokens"]) == 5
