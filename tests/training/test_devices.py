"""One process, two, and two devices of one learn the same; a worker that is killed is started again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import CONFIG, invoke, overrides, sets

from pipelines.commands.train import train
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.tasks import TASKS
from pipelines.training import devices
from pipelines.training.devices import connect
from pipelines.training.execution import resolve_execution
from pipelines.training.replicas import without_xla

ROOT = Path(__file__).parents[2]
# Steps that follow the size of the gradient, and are clipped: Adam would hide a gradient of the wrong size.
CLIPPED = ["optimizer.name=momentum", "optimizer.learning_rate=0.05", "optimizer.clip_norm=0.1"]
EXACT = ["models.mlp.dropout=0.0", "models.mlp.l2=0.01", "training.patience=null", *CLIPPED]
TINY = {
    "cat_classifier": ["data.count=90", "preprocessing.image_size=32", "model=logistic_regression"],
    "house_prices": ["model=mlp", "models.mlp.dropout=0.0"],
    "entity_tagger": ["data.count=150", "model=lstm", "models.lstm.dropout=0.0", "models.lstm.word_dropout=0.0"],
    "translator": ["preprocessing.vocabulary=300", "batches.tokens=512", "models.transformer.dropout=0.0"],
    "language_model": ["batches.steps=4", "model=gru", "models.gru.counts=3", "models.gru.dropout=0.0"],
}


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, **pipes)


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that train, the chief first."""

    def children(pid: int) -> list[int]:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    return [worker for server in children(process.pid) for worker in children(server)]


def outcome(folder: Path) -> dict[str, float]:
    run = Run(folder)
    last = run.history().iloc[-1].drop("seconds")
    return {
        **last,
        **{f"{split}.{name}": value for split, each in run.metrics().items() for name, value in each.items()},
    }


def assert_alike(folder: Path, other: Path) -> None:
    one, two = outcome(folder), outcome(other)
    assert one.keys() == two.keys()
    np.testing.assert_allclose([*one.values()], [*two.values()], rtol=2e-5)


@pytest.fixture(scope="module")
def whole(csv, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(CONFIG, overrides(csv, *EXACT), folder / "run")
    return folder / "run"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_two_processes_of_which_one_is_killed_learn_what_one_does(csv, whole, tmp_path):
    folder, last = tmp_path / "run", tmp_path / "run/checkpoints/last.npz"
    settings = sets(overrides(csv, *EXACT, "training.epochs=2"))
    process = start("cli.py", "train", CONFIG, *settings, "--processes", 2, "--run-dir", folder)
    while not last.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    _, other = workers_of(process)
    os.kill(other, signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err.count("worker 2 of 2 ended with signal 9") == 1 and "Traceback" not in err
    assert out.count("rmsle") == 1  # the other worker prints nothing
    (computing,) = Run(folder).environment()["training"]
    assert computing == {
        "backend": "tensorflow", "precision": "float32", "strategy": "multi_worker",
        "workers": 2, "replicas": 2, "device": "CPU",
    }  # fmt: skip
    train(CONFIG, overrides(csv, *EXACT), folder, resume=True)  # two more epochs, in this process
    assert [part["workers"] for part in Run(folder).environment()["training"]] == [2, 1]
    assert_alike(folder, whole)


def test_two_devices_of_a_process_go_on_as_one_would(csv, whole, tmp_path):
    train(CONFIG, overrides(csv, *EXACT, "training.epochs=2"), tmp_path / "run")
    more = sets(overrides(csv, *EXACT, "training.devices.count=2"))
    process = start("cli.py", "train", CONFIG, *more, "--run-dir", tmp_path / "run", "--resume")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert [part["replicas"] for part in Run(tmp_path / "run").environment()["training"]] == [1, 2]
    assert_alike(tmp_path / "run", whole)


def test_clipping_makes_a_difference(csv, whole, tmp_path):
    train(CONFIG, overrides(csv, *EXACT, "optimizer.clip_norm=null"), tmp_path / "run")
    assert outcome(tmp_path / "run")["loss"] < 0.9 * outcome(whole)["loss"]


def alike(folder: Path, examples: int, config: object, *settings: str) -> dict:
    process = start("tests/alike.py", folder, examples, config, *settings, PYTHONPATH=str(ROOT))
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_learns_the_same_on_two_devices(task, tmp_path):
    settings = [*TINY[task], *CLIPPED, "training.epochs=2"]
    if task == "language_model":
        settings.append(f"preprocessing.token_folder={tmp_path}/tokens")
    found = alike(tmp_path, 100, task, *settings)
    assert found["replicas"] == 2 and found["weights"] < 1e-5 and found["figures"] < 1e-5, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["batches.size=1"],  # so that one device has no examples
        ["training.accumulate_batches=4", "optimizer.average_decay=0.9", "training.average_epochs=2"],
        ["training.execution={jit_compile: true, steps_per_execution: 3}"],
        ["models.mlp.batch_normalization=true", "training.execution=auto"],
    ],
    ids=["empty parts", "averages", "xla", "batch normalization"],
)
def test_every_way_to_train_learns_the_same_on_two_devices(settings, csv, tmp_path):
    found = alike(tmp_path, 50, CONFIG, *overrides(csv, *EXACT, "training.epochs=2", *settings))
    assert found["weights"] < 1e-5 and found["figures"] < 1e-5, found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(sent, csv, tmp_path):
    settings = sets(overrides(csv, *EXACT, "training.epochs=500"))
    process = start("cli.py", "train", CONFIG, *settings, "--processes", 2, "--run-dir", tmp_path / "run")
    while not (tmp_path / "run/checkpoints/last.npz").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    workers = workers_of(process)
    process.send_signal(sent)
    _, err = process.communicate()
    assert len(workers) == 2 and "Traceback" not in err
    until = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert err.count("interrupted") == (sent == signal.SIGINT)


@pytest.mark.slow
def test_a_fault_of_the_data_is_reported_once(csv, tmp_path):
    settings = sets([*overrides(csv, *EXACT), "data.path=absent.csv"])
    process = start("cli.py", "train", CONFIG, *settings, "--processes", 2, "--run-dir", tmp_path / "run")
    out, err = process.communicate()
    assert (process.returncode, out, err.count("absent.csv")) == (1, "", 1)
    assert not (tmp_path / "run").exists()


def test_a_fault_of_the_config_is_reported_once_before_any_worker_starts(csv, tmp_path):
    result = invoke("train", CONFIG, *sets(["training.epochs=0"]), "--processes", 2, "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and result.stderr.count("error: ") == 1
    assert not (tmp_path / "run").exists()


def cluster(*names: str, job: str = "worker", index: int = 0) -> str:
    return json.dumps({"cluster": {job: list(names)}, "task": {"type": job, "index": index}})


@pytest.mark.parametrize(
    ("environment", "settings", "message"),
    [
        ({}, {"strategy": "multi_worker"}, "is multi_worker, but this process is the only one"),
        ({}, {"strategy": "mirrored"}, "is mirrored, but there is one device"),
        ({"TF_CONFIG": cluster("a:1", "b:1")}, {"strategy": "one"}, "is one, but TF_CONFIG or Slurm names 2 processes"),
        ({"TF_CONFIG": "worker"}, {}, "cannot be read"),
        ({"TF_CONFIG": "{}"}, {}, "cannot be read"),
        ({"TF_CONFIG": cluster("a:1", job="ps")}, {}, "has the job ps"),
        ({"TF_CONFIG": cluster("a:1", "b:1", index=2)}, {}, "has no worker with the index 2"),
    ],
)
def test_devices_that_are_not_there_are_refused(environment, settings, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=re.escape(message)):
        connect(**settings)


def test_the_tasks_of_a_slurm_job_are_workers(monkeypatch):
    step = {
        "SLURM_JOB_ID": "31337", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[2,10]", "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }  # fmt: skip
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr(devices, "_join", lambda resolver, workers: joined.append((resolver, workers)))
    connect()
    ((resolver, workers),) = joined
    addresses = {"worker": ["node2:21337", "node2:21338", "node10:21337"]}
    assert (resolver.cluster_spec().as_dict(), resolver.task_id, workers) == (addresses, 2, 3)


def test_xla_is_refused_where_devices_exchange_statistics():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert without_xla(model) and not resolve_execution("auto", model, 10, False, True)["jit_compile"]
    with pytest.raises(UserError, match="XLA cannot compile batch normalization"):
        resolve_execution({"jit_compile": True, "steps_per_execution": 1}, model, 10, False, True)


# A Ray cluster


@pytest.fixture(scope="module")
def ray_cluster():
    """A cluster of two machines, which both run here."""
    utils = pytest.importorskip("ray.cluster_utils")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()


def ray_workers() -> list[int]:
    names = [(int(each.parent.name), each.read_bytes()) for each in Path("/proc").glob("[0-9]*/cmdline")]
    return sorted(pid for pid, name in names if b"RayTrainWorker" in name)


@pytest.mark.slow
def test_workers_of_a_ray_cluster_of_which_one_is_killed_learn_what_one_process_does(ray_cluster, csv, whole, tmp_path):
    folder, last = tmp_path / "run", tmp_path / "run/checkpoints/last.npz"
    settings = sets(overrides(csv, *EXACT))
    process = start("cli.py", "train", CONFIG, *settings, "--ray", ray_cluster, "--processes", 2, "--run-dir", folder)
    while not last.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(ray_workers()[-1], signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert "[FailurePolicy] RETRY" in out + err
    assert [part["workers"] for part in Run(folder).environment()["training"]] == [2]
    assert f"--run-dir {folder}" in " ".join(Run(folder).environment()["command"])
    assert_alike(folder, whole)
    assert [each.name for each in tmp_path.iterdir()] == ["run"], "what Ray Train kept beside the run is removed"


@pytest.mark.slow
def test_a_mistake_that_a_worker_of_a_ray_cluster_finds_is_told_in_one_line(ray_cluster, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("area,price\n1,cheap\n2,dear\n")
    given = sets(overrides(table))
    process = start("cli.py", "train", CONFIG, *given, "--ray", ray_cluster, "--run-dir", tmp_path / "run")
    _, err = process.communicate()
    assert process.returncode == 1 and re.search(r"^error: .*price", err, re.MULTILINE), err
    assert "Traceback" not in err and not (tmp_path / "run").exists()
