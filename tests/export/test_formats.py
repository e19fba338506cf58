"""ONNX and LiteRT beside the SavedModel: what goes in, what comes out, and who cannot have them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import CONFIG, invoke, overrides, sets

from pipelines.export import formats, onnx


@pytest.fixture(scope="module")
def version(finished_run, tmp_path_factory):
    """A version of the houses in all formats."""
    folder = tmp_path_factory.mktemp("formats") / "houses"
    result = invoke("export", finished_run, "--to", folder, "--format", "onnx", "--format", "litert")
    assert result.exit_code == 0, result.output
    return folder / "1"


def in_numbers(version, house: dict) -> dict[str, np.ndarray]:
    """Follow numbers.json as a client does."""
    known = json.loads((version / "numbers.json").read_text())["categories"]
    places = {name: values.index(house[name]) + 1 if house[name] in values else 0 for name, values in known.items()}
    return {
        name: np.array([places[name]], "int32") if name in places else np.array([value], "float32")
        for name, value in house.items()
    }


def onnx_price(version, inputs) -> float:
    import onnxruntime

    return float(onnxruntime.InferenceSession(version / "model.onnx").run(["price"], inputs)[0][0])


def litert_price(version, inputs) -> float:
    from ai_edge_litert.interpreter import Interpreter

    return float(Interpreter(str(version / "model.tflite")).get_signature_runner()(**inputs)["price"][0])


@pytest.mark.parametrize("price", [onnx_price, litert_price])
@pytest.mark.parametrize(
    "house",
    [
        {"Area__m2_": 100.0, "age": 10.0, "district": "old town"},
        {"Area__m2_": 100.0, "age": float("nan"), "district": ""},
        {"Area__m2_": 60.0, "age": 5.0, "district": "never seen"},
    ],
)
def test_numbers_json_is_all_that_a_client_needs(price, house, version):
    raw = {name: value for name, value in house.items() if value == value}
    (answer,) = json.loads(invoke("predict", version, json.dumps(raw), "--json").stdout)
    assert price(version, in_numbers(version, house)) == pytest.approx(answer["price"], rel=1e-4)


def test_each_format_was_compared(version):
    compared = json.loads((version / "parity.json").read_text())["formats"]
    assert list(compared) == ["saved_model", "onnx", "litert"]
    for about in compared.values():
        assert about["signatures"]["serving_default"]["answers"]["price"]["largest_difference"] <= about["tolerance"]
    card = (version / "model_card.md").read_text()
    assert all(f"| {form} | serving_default | price |" in card for form in compared)


def test_a_drifting_format_is_refused_and_leaves_nothing(finished_run, tmp_path, monkeypatch):
    def tampered(trained, endpoint, folder):
        kept = trained.model.get_weights()
        trained.model.set_weights([1.01 * weight for weight in kept])
        onnx.write(trained, endpoint, folder)
        trained.model.set_weights(kept)

    monkeypatch.setitem(formats.FORMATS, "onnx", replace(formats.FORMATS["onnx"], write=tampered))
    result = invoke("export", finished_run, "--to", tmp_path / "houses", "--format", "onnx")
    assert result.exit_code == 1
    assert "onnx, signature 'serving_default', output 'price'" in result.stderr
    assert list((tmp_path / "houses").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("form", "operation"), [("onnx", "Ndtri"), ("litert", "Ndtri")])
def test_what_a_format_has_no_operation_for_is_named(form, operation, csv, tmp_path):
    settings = sets(overrides(csv, "preprocessing.numeric_scaling=quantile", "training.epochs=1"))
    assert invoke("train", CONFIG, *settings, "--run-dir", tmp_path / "run").exit_code == 0
    result = invoke("export", tmp_path / "run", "--to", tmp_path / "houses", "--format", form)
    assert result.exit_code == 1
    assert operation in result.stderr and len(result.stderr.splitlines()) == 1
    assert list((tmp_path / "houses").iterdir()) == []


def test_a_missing_package_is_named_with_what_installs_it(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    result = invoke("export", finished_run, "--to", tmp_path / "houses", "--format", "litert")
    assert result.exit_code == 1
    assert "pip install '.[litert]' in the clone" in result.stderr
