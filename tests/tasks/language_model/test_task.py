"""The language-model line as its user meets it."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import invoke, sets
from serving.servers import Server
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from pipelines.config.load import load_config
from pipelines.evaluation import Answerer
from pipelines.serving.settings import Settings
from pipelines.task import Endpoint
from pipelines.tasks.language_model.kneser_ney import count_ngrams, label_probabilities
from pipelines.tasks.language_model.task import TASK
from pipelines.text.sampling import MOST_TOKENS
from pipelines.text.tokenizers import END
from pipelines.trained_model import build_model, load_run_dataset

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
        "training.execution={jit_compile: false, steps_per_execution: 20}",  # XLA compiles longer than this learns
        "decoding.max_tokens=60",
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
    assert (finished / "report" / "loss_vs_ngrams.png").is_file()


def test_the_report_tells_what_it_wrote_as_it_learnt_and_the_bits(finished):
    kept = json.loads((finished / "samples.json").read_text())
    assert [each["epoch"] for each in kept] == [1, 2]
    first, last = (each["samples"][0]["answer"]["completion"] for each in kept)
    assert len(first) == len(last) == 60 and first != last
    page = (finished / "report" / "samples.html").read_text()
    assert page.count("<tr><th>2</th>") == 2  # of two prompts


@pytest.mark.slow
def test_the_token_file_is_made_once(finished, text):
    (path,) = (text.parent / "tokens").iterdir()
    ids = np.load(path, mmap_mode="r")
    made = path.stat().st_mtime_ns
    train = sum(1 for _ in ids)
    assert 0.85 * len(VERSES) < train < 0.95 * len(VERSES)
    again = invoke("train", CONFIG, *sets(overrides(text, "training.epochs=1")), "--run-dir", finished.parent / "again")
    assert again.exit_code == 0, again.output
    assert path.stat().st_mtime_ns == made


@pytest.fixture(scope="module")
def export(finished):
    folder = finished.parent / "exports" / "verses"
    exported = invoke("export", finished, "--to", folder)
    assert exported.exit_code == 0, exported.output
    return folder


def test_predict_goes_on_and_an_export_needs_none_of_our_code(finished, export):
    answer = invoke("predict", finished, "the 3 cats", "--json")
    assert answer.exit_code == 0, answer.output
    (record,) = json.loads(answer.stdout)
    assert len(record["completion"]) == 60 and len(record["next_tokens"]) == 5
    code = f"""
import tensorflow as tf, tensorflow_text
served = tf.saved_model.load({str(export / "1")!r}).signatures
one = lambda kind, value: tf.constant([value], kind)
wanted = dict(temperature=one(tf.float32, 0.0), top_k=one(tf.int32, 0))
wanted |= dict(top_p=one(tf.float32, 1.0), seed=one(tf.int32, 0))
def write(stop=b"", beams=1, tokens=40):
    given = dict(prompt=one(tf.string, "the "), stop=one(tf.string, stop))
    given |= dict(beams=one(tf.int32, beams), max_tokens=one(tf.int32, tokens))
    answer = served["generate"](**given, **wanted)
    return answer["completion"].numpy()[0], answer["log_probability"].numpy()[0]
whole, _ = write()
stop = whole[20:21]
stopped, _ = write(stop)
assert len(whole) == 40 and stopped == whole.split(stop)[0], (whole, stopped)
assert len(write(beams=8)[0]) == 40
greedy, best = write(tokens=2)[1], write(beams=100, tokens=2)[1]  # 100 first tokens are all: none better is missed
assert best >= greedy - 1e-3, (greedy, best)
top = served["next_token"](prompt=one(tf.string, "the "), top_k=one(tf.int32, 2))
assert top["next_tokens"].shape == (1, 2)
answer = served["serving_default"](prompt=one(tf.string, "the 3 cats"))
assert answer["completion"].numpy()[0].decode() == {record["completion"]!r}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parity = json.loads((export / "1" / "parity.json").read_text())["formats"]["saved_model"]
    assert {"serving_default", "generate", "next_token", "score"} <= set(parity["signatures"])
    drawn = parity["signatures"]["generate"]
    assert {"temperature", "seed"} <= set(drawn["inputs"]) and drawn["answers"]["completion"] == {"differing_rows": 0}


def test_xla_compiles_the_writing_of_one_text(export):
    saved = SavedModel.FromString((export / "1" / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert any(function.attr["_XlaMustCompile"].b for function in functions)


@pytest.mark.slow
def test_an_export_with_subwords_answers_without_keras(text, tmp_path):
    smallest = ["preprocessing.vocabulary=60", "preprocessing.context=16", "training.epochs=1"]
    more = ["preprocessing.level=subword", *smallest]
    trained = invoke("train", CONFIG, *sets(overrides(text, *more)), "--run-dir", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    exported = invoke("export", tmp_path / "run", "--to", tmp_path / "export")  # refused where that process has Keras
    assert exported.exit_code == 0, exported.output


def test_prompts_side_by_side_are_answered_each_as_it_wants(export):
    generate = tf.saved_model.load(str(export / "1")).signatures["generate"]
    kinds = {name: spec.dtype for name, spec in generate.structured_input_signature[1].items()}

    def write(**wanted):
        return generate(**{name: tf.constant(wanted[name], kinds[name]) for name in kinds})["completion"].numpy()

    rows = {"prompt": ["the 3 cats", "the", "a"], "max_tokens": [30, 9, 12], "beams": [1, 4, 1], "stop": ["", "", "t"]}
    rows |= {"temperature": [0.0, 0.0, 0.5], "top_k": [0, 0, 3], "top_p": [1.0, 1.0, 0.9], "seed": [0, 0, 5]}
    together = write(**rows)
    for at, text in enumerate(together):
        assert write(**{name: values[at : at + 1] for name, values in rows.items()}) == [text]
    assert b"t" not in together[2]
    for name, most in (("beams", 100), ("max_tokens", 10_000)):
        for value in (0, most + 1):
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be from 1 to {most}"):
                write(**{**rows, name: [1, value, 1]})
    for name, values in {
        "top_p": (0.0, 1.5, float("nan")),
        "temperature": (-1.0, float("nan")),
        "top_k": (-1,),
    }.items():
        for value in values:
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be from"):
                write(**{**rows, name: [1, value, 1]})


def test_a_split_of_no_file_is_refused(text, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(text, "data.path={train: []}")), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and "data.path" in result.stderr


def test_a_server_streams_as_long_as_a_config_may_write():
    assert Settings.max_stream_steps >= MOST_TOKENS


@pytest.mark.slow
def test_a_server_streams_what_it_would_answer_at_once(finished, export, tmp_path):
    (record,) = json.loads(invoke("predict", finished, "the 3 cats", "--json").stdout)
    server = Server(tmp_path / "log.jsonl", export)
    try:
        body = {"inputs": {"prompt": ["the 3 cats"]}}
        with httpx.stream("POST", f"{server.url}/v1/models/verses:stream", json=body, timeout=60) as answer:
            pieces = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
        assert [piece["finished"] for piece in pieces] == [False] * 59 + [True]
        assert "".join(piece["text"] for piece in pieces) == record["completion"]
        body = {"model": "verses", "prompt": "the 3 cats", "logprobs": 1}
        whole = server.post("/v1/completions", body).json()
        assert whole["choices"][0]["text"] == record["completion"]
        assert whole["usage"] == {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70}  # characters
        short = server.post("/v1/completions", {**body, "temperature": 0, "stop": ["mat"], "seed": 9}).json()
        assert short["choices"][0]["finish_reason"] == "stop" and "mat" not in short["choices"][0]["text"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("level", "rung", "stop"),
    [
        ("byte", "gru", "on the"),
        ("token", "gru", ""),
        ("word", "neural", "on the"),
        pytest.param("byte", "transformer", "on the", marks=pytest.mark.slow),
        pytest.param("subword", "transformer", "", marks=pytest.mark.slow),
        pytest.param("subword", "transformer", "on the", marks=pytest.mark.slow),
    ],
)
def test_pieces_join_to_the_text_whatever_a_token_is(level, rung, stop, text):
    settings = [f"preprocessing.level={level}", "preprocessing.vocabulary=40", "preprocessing.context=8"]
    settings += [f"model={rung}", "models.gru.counts=0", f"decoding.stop='{stop}'", "decoding.temperature=1.5"]
    sizes = [f"models.transformer.{size}" for size in ("width=8", "layers=1", "heads=2", "feed_forward_units=8")]
    config = load_config(CONFIG, overrides(text, *settings, *sizes))
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(load_run_dataset(config).train)
    model = build_model(config, TASK, preprocessor)
    serve, start, step = (
        TASK.endpoints(model, preprocessor)[name] for name in ("serve", "stream_start", "stream_step")
    )
    starting, following = (tf.function(each.answer, input_signature=[each.signature]) for each in (start, step))
    for prompt in ("the 3 cats sat", ""):
        asked = {name: tf.constant([value], start.signature[name].dtype) for name, value in start.typical.items()}
        raw = {"prompt": tf.constant([prompt]), **asked}
        text, outputs = streamed(starting, following, raw)
        assert text == serve.answer(raw)["completion"].numpy()[0]
        assert outputs["stopped"].numpy()[0] == (outputs["tokens"].shape[1] - outputs["read"].numpy()[0] < 60)


def test_streams_of_different_texts_go_on_together_as_each_alone(text):
    settings = ["preprocessing.context=8", "model=transformer", "decoding.temperature=1.5", "decoding.stop='on'"]
    sizes = [f"models.transformer.{size}" for size in ("width=8", "layers=1", "heads=2", "feed_forward_units=8")]
    config = load_config(CONFIG, overrides(text, *settings, *sizes))
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(load_run_dataset(config).train)
    start, step = (
        TASK.endpoints(build_model(config, TASK, preprocessor), preprocessor)[name]
        for name in ("stream_start", "stream_step")
    )
    starting, following = (tf.function(each.answer, input_signature=[each.signature]) for each in (start, step))
    rows, expected = [], []
    for number, prompt in enumerate(("the 3 cats sat", "", "a")):
        asked = {name: tf.constant([value], start.signature[name].dtype) for name, value in start.typical.items()}
        asked |= {"prompt": tf.constant([prompt]), "max_tokens": tf.constant([20]), "seed": tf.constant([number])}
        expected.append(streamed(starting, following, asked)[0])
        rows.append(starting(asked))
    texts = [row["text"].numpy()[0] for row in rows]
    length = max(row["tokens"].shape[1] for row in rows)
    wide = [{**row, "tokens": tf.pad(row["tokens"], [[0, 0], [0, length - row["tokens"].shape[1]]])} for row in rows]
    together = {name: tf.concat([row[name] for row in wide], 0) for name in step.signature}
    done = np.array([False] * 3)
    while not done.all():
        together = following({name: together[name] for name in step.signature})
        texts = [
            text + piece * (not gone) for text, piece, gone in zip(texts, together["text"].numpy(), done, strict=True)
        ]
        done |= together["finished"].numpy()
    assert texts == expected


def streamed(starting, following, raw) -> tuple[bytes, dict]:
    """Join the pieces of a stream; give them, and the outputs of the last call."""
    outputs, pieces = starting(raw), []
    while True:
        pieces.append(outputs["text"].numpy()[0])
        if outputs["finished"].numpy().all():
            return b"".join(pieces), outputs
        outputs = following({name: outputs[name] for name in following.input_signature[0]})


def test_a_stream_takes_what_generate_takes_and_more_stops(text):
    config = load_config(CONFIG, overrides(text, "models.gru.counts=0"))
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(load_run_dataset(config).train)
    model = build_model(config, TASK, preprocessor)
    generate, start, step = (
        TASK.endpoints(model, preprocessor)[name] for name in ("generate", "stream_start", "stream_step")
    )
    starting, following = (tf.function(each.answer, input_signature=[each.signature]) for each in (start, step))
    for number, stops in enumerate(([], ["e"], ["", "\n", "the"], ["never at all"])):
        asked = {"max_tokens": 20 + number, "temperature": 2.0, "top_k": 9, "top_p": 0.9, "seed": 7 + number}
        raw = {name: tf.constant([value], start.signature[name].dtype) for name, value in asked.items()}
        raw = {"prompt": tf.constant(["the 3"]), **raw, "stop": tf.constant([stops], tf.string)}
        got, outputs = streamed(starting, following, raw)
        at_once = {name: tf.reshape(raw[name], [1]) for name in generate.signature if name in asked or name == "prompt"}
        whole = generate.answer({**at_once, "beams": tf.constant([1]), "stop": tf.constant([""])})["completion"]
        whole = whole.numpy()[0].decode()
        cut = min((place for stop in stops if stop and (place := whole.find(stop)) >= 0), default=len(whole))
        assert got.decode() == whole[:cut]
        ids = outputs["tokens"].numpy()[0]
        assert outputs["stopped"].numpy()[0] == (cut < len(whole) or ids[-1] == END)
        shares = np.exp(outputs["top_log_probabilities"].numpy()[0])
        assert (np.diff(shares) <= 0).all() and shares.sum() <= 1.0001 and len(shares) <= 20
        assert outputs["token"].numpy()[0].decode() == preprocessor.tokenizer.pieces[ids[-1]]
        scores = model({"tokens": ids[None, :-1]}, training=False)[0, -1]
        assert outputs["log_probability"].numpy()[0] == pytest.approx(
            float(tf.nn.log_softmax(scores)[ids[-1]]), abs=1e-4
        )
    for name, value in {"max_tokens": 0, "temperature": -1.0, "top_p": 0.0, "top_k": -1}.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be from"):
            starting({**raw, name: tf.constant([value], start.signature[name].dtype)})


def test_bits_a_character_are_those_of_a_reference(text, tmp_path):
    """Count words once each way: the nats of a stretch over ln 2 and the characters of its predicted tokens."""
    settings = ["preprocessing.level=word", "preprocessing.vocabulary=60", "model=ngram", "models.ngram.order=2"]
    config = load_config(CONFIG, overrides(text, *settings))
    dataset = load_run_dataset(config)
    preprocessor = TASK.preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    model = build_model(config, TASK, preprocessor)
    model.load()
    answers = Answerer(Endpoint(partial(TASK.answer_raw, model, preprocessor), preprocessor.signature))
    scores = TASK.compute_metrics(dataset.test, answers.answer_table(dataset.test))
    levels = count_ngrams(np.asarray(preprocessor.ids(dataset.train)), 2, preprocessor.tokenizer.size)
    nats = characters = tokens = words = 0
    for stretch in map(str, dataset.test["text"]):
        ids = preprocessor.tokenizer.encode(tf.constant([stretch]))[0].numpy()
        nats -= np.log(label_probabilities(levels, ids)[1:]).sum()
        characters += len(stretch) - len(preprocessor.tokenizer.pieces[ids[0]])  # the first token is not predicted
        tokens, words = tokens + len(ids) - 1, words + len(stretch.split())
    assert scores["bits_per_character"] == pytest.approx(nats / np.log(2) / characters, rel=1e-4)
    assert scores["loss"] == pytest.approx(nats / tokens, rel=1e-4)
    assert scores["word_perplexity"] == pytest.approx(np.exp(nats / words), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["word", "byte", "subword", "token"])
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
    assert "attention.png" not in report and "gates.png" in report
    assert ("neighbours.html" in report) is (level != "byte")


@pytest.mark.slow
def test_a_transformer_shows_where_it_looks(text, tmp_path):
    sizes = [f"models.transformer.{size}" for size in ("width=8", "layers=2", "heads=2", "feed_forward_units=8")]
    small = ["model=transformer", *sizes, "preprocessing.level=word", "preprocessing.context=16", "training.epochs=1"]
    result = invoke("train", CONFIG, *sets(overrides(text, *small)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert {"attention.png", "embeddings.png"} <= {path.name for path in (tmp_path / "run" / "report").iterdir()}


@pytest.mark.slow
def test_counts_are_a_model_like_any_other(text, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(text, "model=ngram")), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1
    answer = invoke("predict", tmp_path / "run", "the 3 c", "--json")
    assert "ats sat on the mat" in json.loads(answer.stdout)[0]["completion"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("preprocessing.context=100000", "fewer than one window"),
        ("model=transformer models.transformer.heads=3", "must be a multiple of 2 * heads = 6"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(setting, words, text, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(text, *setting.split())), "--run-dir", tmp_path / "run")
    assert (result.exit_code, words in result.stderr) == (1, True)
    assert not (tmp_path / "run").exists()
