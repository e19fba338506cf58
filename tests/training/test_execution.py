"""The rule by which `auto` executes a training step."""

import keras
import pytest
import tensorflow as tf
from conftest import CONFIG, overrides

from pipelines.commands.train import train
from pipelines.layers.transformer import DecoderBlock
from pipelines.training.execution import be_deterministic, resolve_execution


def model(*layers):
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])


@pytest.mark.parametrize(("devices", "xla"), [([], False), (["a GPU"], True)])
def test_dropout_keeps_xla_off_on_a_cpu_only(devices, xla, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
    assert resolve_execution("auto", model(keras.layers.Dropout(0.5)), 10, False)["jit_compile"] is xla
    assert resolve_execution("auto", model(), 10, False)["jit_compile"] is True


@pytest.mark.parametrize(("devices", "xla"), [([], False), (["a GPU"], True)])
def test_convolutions_keep_xla_off_on_a_cpu_only(devices, xla, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
    convolving = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    assert resolve_execution("auto", convolving, 10, False)["jit_compile"] is xla


def test_dropout_within_a_layer_counts_too(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    for dropout, xla in ((0.1, False), (0.0, True)):
        block = DecoderBlock(4, 2, 8, layers=1, rotary=False, dropout=dropout, use_bias=True)
        blocks = keras.Sequential([keras.Input((3, 4)), block])
        assert resolve_execution("auto", blocks, 10, False)["jit_compile"] is xla


@pytest.mark.parametrize(("steps", "expected"), [(52, 52), (128, 128), (130, 65), (131, 1), (300, 100)])
def test_steps_per_execution_divide_an_epoch(steps, expected):
    assert resolve_execution("auto", model(), steps, False)["steps_per_execution"] == expected


def test_what_the_config_says_is_kept():
    wanted = {"jit_compile": False, "steps_per_execution": 20}
    assert resolve_execution(wanted, model(), 100, False) == wanted
    assert resolve_execution(wanted, model(), 30, False)["steps_per_execution"] == 15


@pytest.mark.parametrize("devices", [[], ["a GPU"]])
def test_only_operations_on_a_gpu_are_made_deterministic(devices, monkeypatch):
    made = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: made.append(True))
    be_deterministic()
    assert len(made) == len(devices)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_config_says_whether_training_is_deterministic(wanted, csv, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("pipelines.training.train.be_deterministic", lambda: made.append(True))
    train(CONFIG, overrides(csv, "training.epochs=1", f"training.deterministic={wanted}".lower()), tmp_path / "run")
    assert bool(made) is wanted
