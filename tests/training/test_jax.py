"""What is trained on JAX is what TensorFlow would train, and what it serves."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import CONFIG, invoke, overrides, sets
from interrupted import Interrupted, interrupt_within
from serving.servers import Server

from pipelines.commands.train import train
from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.errors import UserError
from pipelines.export.write import write_export
from pipelines.fit import fit
from pipelines.runs.run import Run
from pipelines.tasks import TASKS
from pipelines.trained_model import load_run_dataset
from pipelines.training import jax_process

ON_JAX = "training.backend=jax"
# Steps that follow the size of the gradient, and are clipped: Adam would hide a gradient of the wrong size.
CLIPPED = ["optimizer.name=momentum", "optimizer.learning_rate=0.05", "optimizer.clip_norm=0.1"]
EXACT = ["models.mlp.dropout=0.0", "models.mlp.l2=0.01", "training.patience=null", *CLIPPED]
AVERAGED = ["training.accumulate_batches=2", "optimizer.average_decay=0.9", "training.average_epochs=2"]
TINY = {
    "cat_classifier": ["data.count=90", "preprocessing.image_size=32", "model=resnet", "models.resnet.dropout=0.0"],
    "house_prices": ["model=tabm", "models.tabm.dropout=0.0"],
    "entity_tagger": ["data.count=150", "model=lstm", "models.lstm.dropout=0.0", "models.lstm.word_dropout=0.0"],
    "translator": ["preprocessing.vocabulary=300", "batches.tokens=512", "models.transformer.dropout=0.0"],
    "language_model": ["batches.steps=4", "model=gru", "models.gru.counts=3", "models.gru.dropout=0.0"],
}


def figures(folder: Path) -> dict[str, float]:
    run = Run(folder)
    last = run.history().iloc[-1].drop("seconds")
    measured = {f"{split}.{name}": value for split, each in run.metrics().items() for name, value in each.items()}
    return {**last, **measured}


def assert_alike(folder: Path, other: Path, tolerance: float = 2e-5) -> None:
    one, two = figures(folder), figures(other)
    assert one.keys() == two.keys()
    np.testing.assert_allclose([*one.values()], [*two.values()], rtol=tolerance, atol=1e-6)


@pytest.fixture(scope="module")
def whole(csv, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(CONFIG, overrides(csv, *EXACT, *AVERAGED, ON_JAX), folder)
    return folder


def test_jax_trains_what_tensorflow_trains_and_serves(csv, whole, tmp_path):
    _, run = train(CONFIG, overrides(csv, *EXACT, *AVERAGED), tmp_path / "run")
    assert_alike(whole, tmp_path / "run")
    assert run.environment()["training"][-1]["backend"] == "tensorflow"
    environment = Run(whole).environment()
    assert environment["training"][-1]["backend"] == "jax" and environment["packages"]["jax"] == version("jax")
    assert invoke("export", whole, "--to", tmp_path / "export").exit_code == 0  # compares the export with the run
    house = '{"Area (m2)": 100, "age": 10, "district": "north"}'
    own, exported = (invoke("predict", folder, house, "--json").stdout for folder in (whole, tmp_path / "export"))
    assert json.loads(exported)[0] == pytest.approx(json.loads(own)[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_on_jax_what_tensorflow_trains_and_serves(task, tmp_path):
    settings = [*TINY[task], *CLIPPED, "training.epochs=2"]
    if task == "language_model":
        settings.append(f"preprocessing.token_folder={tmp_path}/tokens")
    weights = []
    for backend in ("tensorflow", "jax"):
        config = load_config(shipped_config(task), [*settings, f"training.backend={backend}"])
        dataset = load_run_dataset(config)
        few = {split: dataset[split].head(100) for split in ("train", "validation", "test")}
        run = Run(tmp_path / backend)
        trained = fit(config, run, replace(dataset, **few))
        weights.append(trained.model.get_weights())
    assert_alike(tmp_path / "jax", tmp_path / "tensorflow", 1e-4)
    for one, two in zip(*weights, strict=True):
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, two, atol=1e-5)
    version = write_export(trained, run, tmp_path / "export", replace(dataset, **few))  # compares it with the run
    assert json.loads((version / "parity.json").read_text())["compared"]
    server = Server(tmp_path / "log.txt", tmp_path / "export")  # is ready once it has answered the recorded requests
    assert server.get("/v1/models/export").json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert server.stop() == 0


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_metrics(csv, whole, tmp_path, monkeypatch):
    folder, settings = tmp_path / "run", overrides(csv, *EXACT, *AVERAGED, ON_JAX)
    with monkeypatch.context() as patched:
        interrupt_within(patched, epoch=2, step=1)
        with pytest.raises(Interrupted):
            train(CONFIG, [*settings, "training.checkpoint_minutes=0"], folder)
    train(CONFIG, settings, folder, resume=True)
    assert figures(folder) == figures(whole)


@pytest.mark.slow
def test_the_end_of_the_process_on_jax_is_reported(csv, tmp_path, monkeypatch):
    take = jax_process.JaxProcess.take

    def killed(self, batch):
        self._process.kill()
        take(self, batch)

    monkeypatch.setattr(jax_process.JaxProcess, "take", killed)
    result = invoke("train", CONFIG, *sets(overrides(csv, *EXACT, ON_JAX)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].startswith(
        "error: training.backend: the process that trains on JAX ended with signal 9"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.devices.count=2"], "training.devices: asks for several devices, but training.backend is jax"),
        (["training.devices.strategy=mirrored"], "training.devices: asks for several devices"),
        (["distill={teacher: runs/teacher}"], "distill: cannot be used while training.backend is jax"),
    ],
)
def test_what_jax_cannot_do_is_refused(settings, message, csv, tmp_path):
    result = invoke("train", CONFIG, *sets(overrides(csv, ON_JAX, *settings)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 1 and result.stderr.startswith(f"error: {message}"), result.stderr


def test_without_jax_the_error_says_what_to_install(csv, monkeypatch):
    monkeypatch.setattr(jax_process, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"training.backend: is jax, which is not installed; .* pip install '\.\[jax\]'"
    ):
        train(CONFIG, overrides(csv, ON_JAX))


def test_mini_batches_come_in_few_shapes():
    specs = {"ids": tf.TensorSpec([None, None], tf.int32), "image": tf.TensorSpec([None, 5], tf.float32)}
    sizes = []
    for length in range(1, 60):
        batch = {"ids": tf.ones([7, length], tf.int32), "image": tf.ones([7, 5])}
        same_rows = jax_process.with_few_shapes(batch, specs, any_size=False)
        more_rows = jax_process.with_few_shapes(batch, specs, any_size=True)
        assert same_rows["ids"].sum() == more_rows["ids"].sum() == 7 * length
        assert same_rows["image"].shape == (7, 5) and more_rows["image"].shape == (8, 5)
        sizes.append(same_rows["ids"].shape[1])
    assert sorted(set(sizes)) == [8, 12, 16, 24, 32, 48, 64]


def test_the_device_of_a_run_is_that_of_jax(monkeypatch):
    jax = pytest.importorskip("jax")
    from pipelines.training.jax_step import JaxStep

    steps = object.__new__(JaxStep)
    assert steps.device == "CPU"
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind="NVIDIA H200")])
    assert steps.device == "NVIDIA H200"
