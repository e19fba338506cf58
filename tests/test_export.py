"""Exports: versions, and answers in a process that knows nothing but TensorFlow."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import invoke

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
    command = [sys.executable, "-c", ALONE, str(finished_export / "1")]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    houses = ['{"Area (m2)": 100, "age": 10, "district": "old town"}', '{"Area (m2)": 50, "district": "never seen"}']
    answers = json.loads(invoke("predict", finished_run, *houses, "--json").stdout)
    assert json.loads(alone.stdout)["price"] == pytest.approx([answer["price"] for answer in answers], rel=1e-5)


def test_every_export_is_a_new_version_and_the_newest_answers(finished_run, tmp_path):
    folder = tmp_path / "houses"
    paths = [invoke("export", finished_run, "--to", folder).stdout.strip() for _ in range(2)]
    assert paths == [str(folder / "1"), str(folder / "2")]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    shutil.rmtree(folder / "1")
    assert invoke("predict", folder, "{}").exit_code == 0
    assert invoke("predict", folder / "2", "{}").exit_code == 0


def test_a_place_that_cannot_be_written_gets_one_line(finished_run, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("export", finished_run, "--to", tmp_path / "file")
    assert result.exit_code == 1
    assert "cannot write an export here" in result.stderr
