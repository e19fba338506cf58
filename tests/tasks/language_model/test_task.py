"""The language-model line as its user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import invoke, sets

CONFIG = Path(__file__).parents[3] / "configs" / "language_model.yaml"
VERSES = "".join(f"the {number % 7} cats sat on the mat, and the {number % 5} dogs ran.\n" for number in range(400))


def overrides(path, *more):
    data = f"data={{source: files, root: '{path.parent}', path: {path.name}}}"
    small = ["optimizer.learning_rate=0.01"] + [f"models.gru.{size}" for size in ("width=12", "units=24")]
    return [
        data,
        *small,
        f"preprocessing.token_folder={path.parent}/tokens",
        "batches.steps=30",
        "training.epochs=3",
        *more,
    ]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "verses.txt"
    path.write_text(VERSES)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("run") / "verses"
    result = invoke("train", CONFIG, *sets(overrides(text)), "--run-dir", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_a_run_is_measured_and_drawn(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    for split in ("train", "validation", "test"):
        scores = metrics[split]
        assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]))
        assert scores["bits_per_character"] == pytest.approx(scores["loss"] / np.log(2))  # a token is a character
        assert 0 < scores["top_1_accuracy"] < scores["top_5_accuracy"] <= 1
    assert metrics["test"]["loss"] < 2
    assert (finished / "report" / "beside_counts.png").is_file()


def test_the_token_file_is_made_once(finished, text):
    (path,) = (text.parent / "tokens").iterdir()
    ids = np.load(path, mmap_mode="r")
    made = path.stat().st_mtime_ns
    train = sum(1 for _ in ids)
    assert 0.85 * len(VERSES) < train < 0.95 * len(VERSES)
    again = invoke("train", CONFIG, *sets(overrides(text, "training.epochs=1")), "--run-dir", finished.parent / "again")
    assert again.exit_code == 0, again.output
    assert path.stat().st_mtime_ns == made


def test_predict_goes_on_and_an_export_needs_none_of_our_code(finished, tmp_path):
    answer = invoke("predict", finished, "the 3 cats", "--json")
    assert answer.exit_code == 0, answer.output
    (record,) = json.loads(answer.stdout)
    assert len(record["completion"]) == 200 and len(record["next_tokens"]) == 5
    exported = invoke("export", finished, "--to", tmp_path / "export")
    assert exported.exit_code == 0, exported.output
    code = f"""
import tensorflow as tf, tensorflow_text
served = tf.saved_model.load({str(tmp_path / "export" / "1")!r}).signatures
one = lambda kind, value: tf.constant([value], kind)
wanted = dict(max_tokens=one(tf.int32, 40), temperature=one(tf.float32, 0.0), top_k=one(tf.int32, 0))
wanted |= dict(top_p=one(tf.float32, 1.0), seed=one(tf.int32, 0))
def write(stop): return served["generate"](prompt=one(tf.string, "the "), stop=one(tf.string, stop), **wanted)
whole, stopped = write("")["completion"].numpy()[0], write("a")["completion"].numpy()[0]
assert len(whole) == 40 and stopped == whole.split(b"a")[0] != whole, (whole, stopped)
top = served["next_token"](prompt=one(tf.string, "the "), top_k=one(tf.int32, 2))
assert top["next_tokens"].shape == (1, 2)
answer = served["serving_default"](prompt=one(tf.string, "the 3 cats"))
assert answer["completion"].numpy()[0].decode() == {record["completion"]!r}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parity = json.loads((tmp_path / "export" / "1" / "parity.json").read_text())["formats"]["saved_model"]
    assert {"serving_default", "generate", "next_token", "score"} <= set(parity["signatures"])
    drawn = parity["signatures"]["generate"]
    assert {"temperature", "seed"} <= set(drawn["inputs"]) and drawn["answers"]["completion"] == {"differing_rows": 0}


def test_an_export_with_subwords_answers_without_keras(text, tmp_path):
    smallest = ["preprocessing.vocabulary=60", "preprocessing.context=16", "training.epochs=1"]
    more = ["preprocessing.level=subword", *smallest]
    trained = invoke("train", CONFIG, *sets(overrides(text, *more)), "--run-dir", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    exported = invoke("export", tmp_path / "run", "--to", tmp_path / "export")  # refused where that process has Keras
    assert exported.exit_code == 0, exported.output


@pytest.mark.parametrize("level", ["byte", "word", "subword"])
def test_every_level_trains_and_is_explained(level, text, tmp_path):
    more = [
        f"preprocessing.level={level}",
        "preprocessing.vocabulary=60",
        "preprocessing.context=16",
        "training.epochs=1",
    ]
    result = invoke("train", CONFIG, *sets(overrides(text, *more)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    report = {path.name for path in (tmp_path / "run" / "report").iterdir()}
    assert ("neighbours.html" in report) is (level != "byte")


def test_counts_are_a_model_like_any_other(text, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(text, "model=ngram")), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1
    answer = invoke("predict", tmp_path / "run", "the 3 c", "--json")
    assert "ats sat on the mat" in json.loads(answer.stdout)[0]["completion"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("preprocessing.context=100000", "less than one window"),
        ("model=transformer models.transformer.heads=3", "multiple of twice the heads"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(setting, words, text, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(text, *setting.split())), "--run-dir", tmp_path / "run")
    assert (result.exit_code, words in result.stderr) == (1, True)
    assert not (tmp_path / "run").exists()
