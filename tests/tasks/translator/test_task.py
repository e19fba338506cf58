"""The translator's line as its user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import invoke, sets
from tiny import TRACED_ONCE

from pipelines.tasks.translator.pictures import draw_bleu_by_length
from pipelines.tasks.translator.scores import about_tokens
from pipelines.tasks.translator.task import MEASURED, TASK
from pipelines.text.attention_maps import write_attention

CONFIG = Path(__file__).parents[3] / "configs" / "translator.yaml"
WORDS = dict(
    zip("one two three four five six seven".split(), "un deux trois quatre cinq six sept".split(), strict=True)
)
ASK = """
import json, sys, tensorflow as tf, tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
source = tf.constant(["two cats", "one"])
ask = loaded.signatures["n_best"]
found = ask(source=source, count=tf.constant([3, 1]))
counts = found["tokens"].numpy()
assert counts[0].min() > 0 and counts[1].tolist() == [counts[1, 0], 0, 0] and counts[1, 0] > 0, counts
assert found["source_tokens"].numpy()[0] > found["source_tokens"].numpy()[1] > 0
alone = ask(source=source[1:], count=tf.constant([1]))
answers = {
    "translation": loaded.signatures["serving_default"](source=source)["translation"].numpy().tolist(),
    "best": found["translations"].numpy().tolist(),
    "scores": found["scores"].numpy().tolist(),
    "alone": alone["translations"].numpy().tolist(),
}
print(json.dumps(answers, default=bytes.decode))
for count in (0, 4):
    try:
        ask(source=source[:1], count=tf.constant([count]))
    except tf.errors.InvalidArgumentError as error:
        assert "count must be from 1 to 3" in error.message
    else:
        raise AssertionError(count)
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Numbered cats in two languages, and a pair that is none."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = [
        f"{a} {noun}\t{b} {name}" for a, b in WORDS.items() for noun, name in (("cats", "chats"), ("dogs", "chiens"))
    ]
    (folder / "cats.tsv").write_text("\n".join([*lines * 40, "alone\t", "x\t" + "y" * 90]) + "\n")
    return folder / "cats.tsv"


def read(pairs):
    """Say where the pairs are."""
    data = f"data={{source: files, from_language: en, to_language: fr, root: '{pairs.parent}', path: {pairs.name},"
    return data + " most_characters: 80, most_ratio: 3.0}"


@pytest.fixture(scope="module")
def job(tmp_path_factory, pairs):
    """What `run` said, and the folder that it worked in."""
    settings = [
        read(pairs),
        "preprocessing.level=word",
        "batches.tokens=60",
        *(f"models.transformer.{size}" for size in ("width=32", "heads=2", "encoder_layers=1", "decoder_layers=1")),
        "training.epochs=10",
        TRACED_ONCE,
        "decoding.beams=3",
        "optimizer.average_decay=null",
        "optimizer.learning_rate=0.01",
    ]
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = invoke("run", CONFIG, *sets(settings))
    assert result.exit_code == 0, result.output
    return result.stdout, folder


@pytest.fixture(scope="module")
def finished(job):
    return next((job[1] / "runs" / "translator").iterdir())


def test_run_shows_a_few_translations_beside_the_right_ones(job):
    rows = [line for line in job[0].splitlines() if "source " in line]
    assert len(rows) == 5
    assert all("target " in row and "translation " in row for row in rows)
    assert all(any(f"target {number} ch" in row for number in WORDS.values()) for row in rows)


def test_a_run_is_measured_signed_and_drawn(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["test"]["exact_match"] > 0.9
    assert metrics["test"]["perplexity"] < 2
    signatures = json.loads((finished / "signatures.json").read_text())
    assert "case:lc" in signatures["bleu_lower"]
    assert "tok:13a" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
    report = {path.name for path in (finished / "report").iterdir()}
    assert report >= {"bleu_by_length.png", "translations.html", "worst_translations.html", "attention.png"}
    assert ("encoder_attention.png" in report) is not ("encoder_gates.png" in report)


def test_the_baseline_of_perplexity_counts_tokens(finished):
    baseline = json.loads((finished / "trivial.json").read_text())["validation"]
    by_hand = 3 * (7 * 2) ** (1 / 3)  # a third of the tokens each: seven numbers, two nouns, and the end
    assert baseline["perplexity"] == pytest.approx(by_hand, rel=0.02)
    assert baseline["perplexity"] > json.loads((finished / "metrics.json").read_text())["validation"]["perplexity"]


def test_pairs_left_out_are_counted(finished):
    data = json.loads((finished / "data.json").read_text())
    assert data["skipped"]["count"] == 2
    assert data["origin"]["left_out"] == {"a side is empty": 1, "a side is longer than 80 characters": 1}
    assert data["origin"]["to_language"] == "fr"


def test_texts_are_translated_and_attention_is_shown(finished):
    result = invoke("predict", finished, "three dogs", "one cats", "--json")
    assert [each["translation"] for each in json.loads(result.output)] == ["trois chiens", "un chats"]
    shown = invoke("predict", finished, "three dogs", "--attention").output
    assert "␣trois" in shown
    assert "␣three ␣dogs" in shown
    assert set(" ░▒▓█") & set(shown) - {" "}
    [table] = json.loads(invoke("predict", finished, "three dogs", "--attention", "--json").output)
    assert table["keys"][:2] == [" three", " dogs"]
    assert [sum(row) for row in table["weights"]] == pytest.approx([1.0] * len(table["queries"]), abs=1e-5)


def test_a_terminal_shows_signs_as_they_are():
    assert write_attention([[0.3, 0.7]], ["$5"], [" a", "$5"]) == "    ␣a $5\n$5  ▒▒ ██"


def test_a_task_that_shows_no_attention_says_so(finished_run):
    result = invoke("predict", finished_run, "{}", "--attention")
    assert result.exit_code == 1
    assert "has no attention weights" in result.output


def test_an_export_answers_texts_without_this_project(job, tmp_path):
    folder = job[1] / "exports" / "translator" / "1"
    done = subprocess.run([sys.executable, "-c", ASK, folder], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["translation"][0] == "deux chats"
    assert [row[0] for row in answers["best"]] == answers["translation"]
    assert answers["best"][1][1:] == ["", ""]
    assert answers["alone"] == [answers["best"][1][:1]]  # whatever is asked beside it
    assert (np.diff(answers["scores"][0]) <= 0).all()
    assert answers["scores"][1][1:] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["none", "additive", "dot"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_any_seq2seq_on_subwords_is_exported(cell, attention, pairs, tmp_path):
    own = [f"models.seq2seq.{each}" for each in (f"cell={cell}", f"attention={attention}", "width=16", "units=16")]
    settings = [read(pairs), "model=seq2seq", *own, "preprocessing.vocabulary=40", "training.epochs=1"]
    trained = invoke("train", CONFIG, *sets(settings), "--run-dir", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    exported = invoke("export", tmp_path / "run", "--to", tmp_path / "export")  # refused where an answer differs
    assert exported.exit_code == 0, exported.output


def test_short_sentences_that_are_right_have_all_of_bleu():
    same = ["dans 3 jours", "le 5", "le 5 juin", "un deux trois quatre cinq"]
    figure = draw_bleu_by_length(pd.DataFrame({"source": same, "translation": same, "target": same}))
    assert [bar.get_height() for bar in figure.axes[0].patches] == pytest.approx([100, 100])


def test_all_of_test_is_measured_and_some_of_a_large_train():
    many = pd.DataFrame({"source": ["x"] * 10_000, "target": ["y"] * 10_000})
    assert len(TASK.evaluation_examples("test", many)) == 10_000
    assert len(TASK.evaluation_examples("train", many)) <= MEASURED


@pytest.mark.parametrize(
    ("text", "tokens", "packages"),
    [
        ("Das ist ein kurzer Satz.", "tok:13a", ""),
        ("这是一个很长的中文句子，没有空格。还有一句。", "tok:zh", "'zh'"),
        ("これは日本語の長い文章です。東京に行きます。", "tok:char", "sacrebleu[ja]"),
        ("이것은 한국어로 쓴 문장입니다 그리고 조금 깁니다", "tok:char", "sacrebleu[ko]"),
        ("นี่คือประโยคภาษาไทยที่ยาวมาก", "tok:char", "'char'"),
    ],
)
def test_bleu_counts_what_is_a_token_in_the_target_s_script_and_says_so(text, tokens, packages, monkeypatch):
    monkeypatch.setattr("pipelines.tasks.translator.scores.find_spec", lambda name: None)  # no MeCab
    references = pd.DataFrame({"source": ["x"] * 5, "target": [text] * 5})
    signatures = TASK.metric_signatures(references)
    assert tokens in signatures["bleu"] and tokens in signatures["bleu_lower"]
    said = about_tokens(references["target"].tolist())
    assert packages in said["bleu"] if packages else not said
    almost = {"translation": np.array([text[:-6].encode()] * 5), "nats": np.ones(5), "tokens": np.ones(5)}
    assert 30 < TASK.compute_metrics(references, almost)["bleu"] < 100
