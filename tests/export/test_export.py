"""Exports: versions, and answers in a process that knows nothing but TensorFlow."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import invoke
from processes import without_keras

from pipelines.config.load import load_config
from pipelines.errors import UserError
from pipelines.export import parity
from pipelines.export.write import write_export
from pipelines.runs.run import Run
from pipelines.trained_model import load_run_dataset, load_trained_model

ALONE = """
import json, sys
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
answers = serve(Area__m2_=tf.constant([100.0, 50.0]), age=tf.constant([10.0, float("nan")]),
                district=tf.constant(["old town", "never seen"]))
assert not any(name.startswith("pipelines") for name in sys.modules)
print(json.dumps({name: answer.numpy().tolist() for name, answer in answers.items()}))
"""


def test_a_process_with_only_tensorflow_gives_the_same_answers(finished_run, finished_export, tmp_path):
    alone = without_keras(ALONE, finished_export / "1", folder=tmp_path)
    assert alone.returncode == 0, alone.stderr
    houses = ['{"Area (m2)": 100, "age": 10, "district": "old town"}', '{"Area (m2)": 50, "district": "never seen"}']
    answers = json.loads(invoke("predict", finished_run, *houses, "--json").stdout)
    assert json.loads(alone.stdout)["price"] == pytest.approx([answer["price"] for answer in answers], rel=1e-5)


@pytest.mark.slow
def test_every_export_is_a_new_version_and_the_newest_answers(finished_run, tmp_path):
    folder = tmp_path / "houses"
    paths = [invoke("export", finished_run, "--to", folder).stdout.strip() for _ in range(2)]
    assert paths == [str(folder / "1"), str(folder / "2")]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    shutil.rmtree(folder / "1")
    assert invoke("predict", folder, "{}", "--allow-missing").exit_code == 0
    assert invoke("predict", folder / "2", "{}", "--allow-missing").exit_code == 0


def test_a_place_that_cannot_be_written_gets_one_line(finished_run, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("export", finished_run, "--to", tmp_path / "file")
    assert result.exit_code == 1
    assert "cannot write an export here" in result.stderr


def test_parity_says_what_was_compared(finished_run, finished_export):
    parity = json.loads((finished_export / "1" / "parity.json").read_text())
    test = load_run_dataset(load_config(finished_run / "config.yaml"))
    assert parity["compared"] and parity["examples"] == len(test.test)
    assert parity["fingerprint"] == test.record["fingerprint"]["test"]
    saved_model = parity["formats"]["saved_model"]
    assert set(saved_model["versions"]) == {"tensorflow", "tensorflow-text"}
    signature = saved_model["signatures"]["serving_default"]
    assert signature["inputs"] == ["Area__m2_", "age", "district"]
    assert signature["answers"]["price"]["largest_difference"] <= saved_model["tolerance"]


def test_a_drifting_export_is_refused_and_leaves_nothing(finished_run, tmp_path, monkeypatch):
    save = tf.saved_model.save

    def tampered(module, *arguments):
        weights = [each for each in module.tracked if isinstance(each, tf.Variable) and each.dtype.is_floating]
        trained = [weight.numpy() for weight in weights]
        for weight in weights:
            weight.assign(1.01 * weight)
        save(module, *arguments)
        for weight, value in zip(weights, trained, strict=True):
            weight.assign(value)

    monkeypatch.setattr(tf.saved_model, "save", tampered)
    result = invoke("export", finished_run, "--to", tmp_path / "houses")
    assert result.exit_code == 1
    assert "output 'price'" in result.stderr and "nothing was exported" in result.stderr
    assert list((tmp_path / "houses").iterdir()) == []


def test_each_signature_is_traced_once(finished_run, tmp_path):
    trained, traced = load_trained_model(Run.open(finished_run)), []
    for name, answerer in trained.answerers.items():
        answer = answerer.function.python_function
        counted = partial(lambda answer, name, raw: traced.append(name) or answer(raw), answer, name)
        answerer.function = tf.function(counted, input_signature=[answerer.signature], autograph=False)
    write_export(trained, Run.open(finished_run), tmp_path, None)
    assert traced == list(trained.answerers)
    assert trained.answerer is trained.answerers["serve"]  # evaluation traces no more


@pytest.mark.parametrize(
    ("own", "other", "drifts"),
    [
        ([b"a", b"b"], [b"a", b"b"], False),
        ([b"a", b"b"], [b"a", b"c"], True),
        ([1, 2], [1, 2], False),
        ([1, 2], [1, 3], True),
        ([1.0, 2.0], [1.0, 2.0 + 1e-6], False),
        ([1.0, 2.0], [1.0, 2.0 + 1e-4], True),
        ([1.0, float("nan")], [1.0, float("nan")], False),
        ([1.0, 2.0], [1.0, float("nan")], True),
    ],
)
def test_texts_and_whole_numbers_have_to_be_equal_and_numbers_nearly(own, other, drifts, tmp_path, monkeypatch):
    def answers(values):
        return {"answer": np.array(values, object if isinstance(values[0], bytes) else None)}

    questions = parity.Questions(2, [("serve", {})], [answers(own)])
    monkeypatch.setattr(parity, "_answers_of_a_fresh_process", lambda *_: ([answers(other)], {}))
    if drifts:
        with pytest.raises(UserError, match=r"output 'answer'.*nothing was exported"):
            parity.compare("saved_model", tmp_path, questions)
    else:
        parity.compare("saved_model", tmp_path, questions)


def moved(run: Path, to: Path) -> Path:
    """Copy a run to where its data is not."""
    shutil.copytree(run, to)
    root = load_config(run / "config.yaml").data["root"]
    (to / "config.yaml").write_text((to / "config.yaml").read_text().replace(root, f"{root}/gone"))
    return to


def test_without_its_data_a_run_is_exported_only_unchecked_and_the_card_says_so(finished_run, tmp_path):
    run = moved(finished_run, tmp_path / "run")
    refused = invoke("export", run, "--to", tmp_path / "houses")
    assert refused.exit_code == 1 and not (tmp_path / "houses").exists()
    (line,) = refused.stderr.splitlines()
    assert "--unchecked" in line
    result = invoke("export", run, "--to", tmp_path / "houses", "--unchecked")
    assert result.exit_code == 0, result.output
    version = tmp_path / "houses" / "1"
    assert json.loads((version / "parity.json").read_text())["compared"] is False
    assert "**Not compared**" in (version / "model_card.md").read_text()
    assert not (version / "assets.extra" / "tf_serving_warmup_requests").exists()
    assert invoke("predict", tmp_path / "houses", "{}", "--allow-missing").exit_code == 0


def test_changed_data_is_no_data_to_compare_on(finished_run, csv, tmp_path):
    run = moved(finished_run, tmp_path / "run")
    root = Path(load_config(run / "config.yaml").data["root"])
    root.mkdir()
    try:
        rows = csv.read_text().splitlines()
        (root / csv.name).write_text("\n".join([rows[0], *reversed(rows[1:])]))
        result = invoke("export", run, "--to", tmp_path / "houses")
    finally:
        shutil.rmtree(root)
    assert result.exit_code == 1 and "the data has changed since this run was started" in result.stderr


def test_recorded_requests_warm_the_server_up(finished_export):
    from pipelines.serving.models.versions import Version

    version = Version(finished_export / "1")
    assert (finished_export / "1" / "assets.extra" / "tf_serving_warmup_requests").is_file()
    assert version.warm_up() == 4, "one request of one row, one of several, for each signature"


def test_the_model_card_tells_task_data_metrics_limits_and_making(finished_run, finished_export):
    card = (finished_export / "1" / "model_card.md").read_text()
    assert card.startswith("# house_prices: mlp\n")
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == ["Description", "Data", "Metrics", "Limitations", "Training", "Parity with the run"]
    data = json.loads((finished_run / "data.json").read_text())
    assert all(fingerprint in card for fingerprint in data["fingerprint"].values())
    metrics = json.loads((finished_run / "metrics.json").read_text())
    for name, value in metrics["test"].items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
        assert float(row.split("|")[4].replace(",", "")) == pytest.approx(value, rel=1e-3, abs=1)
    assert "`district`: string" in card and "licence: not stated" in card
    assert (finished_run / "config.yaml").read_text() in card


def test_answers_without_a_value_are_compared(tmp_path, monkeypatch):
    """A tagger that finds nothing answers no text at all."""
    none = {"entity": np.zeros((3, 0), object)}
    monkeypatch.setattr(parity, "_answers_of_a_fresh_process", lambda *given: ([none], {}))
    found = parity.compare("saved_model", tmp_path, parity.Questions(3, [("explain", none)], [none]))
    assert found["signatures"]["explain"]["answers"] == {"entity": {"differing_rows": 0}}
