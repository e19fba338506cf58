"""TensorFlow Serving's REST API as curl sees it, with the answers that `predict` gives."""

import base64
import json
import subprocess

import pytest
from conftest import invoke

HOUSES = ['{"Area (m2)": 100, "age": 10, "district": "old town"}', '{"Area (m2)": 50, "district": "never seen"}']
INSTANCES = [
    {"Area__m2_": 100, "age": 10.0, "district": "old town"},
    {"Area__m2_": 50, "age": None, "district": "never seen"},
]
TEXTS = ["Mr Bob Lee lives in Oslo 7.", "nothing here", "Ms Ann lives in Rome 8. Mr Dan Ng lives in New York 3."]


def curl(server, path: str, body: object = None, *options: str) -> tuple[int, object]:
    """Ask as a shell script would."""
    data = [] if body is None else ["-d", body if isinstance(body, str) else json.dumps(body)]
    command = ["curl", "-s", "-w", "\n%{http_code}", *data, *options, server.url + path]
    answer, _, status = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.rpartition("\n")
    return int(status), json.loads(answer)


def test_rows_are_answered_as_predict_answers_them(server, finished_export):
    expected = [a["price"] for a in json.loads(invoke("predict", finished_export, *HOUSES, "--json").stdout)]
    status, answer = curl(server, "/v1/models/houses:predict", {"instances": INSTANCES})
    assert status == 200
    assert answer["predictions"] == pytest.approx(expected, rel=1e-5)


def test_columns_are_answered_like_rows(server):
    columns = {name: [instance[name] for instance in INSTANCES] for name in INSTANCES[0]}
    _, by_rows = curl(server, "/v1/models/houses:predict", {"instances": INSTANCES})
    _, by_columns = curl(server, "/v1/models/houses/versions/1:predict", {"inputs": columns})
    assert by_columns["outputs"] == pytest.approx(by_rows["predictions"], rel=1e-6)


def test_entities_are_those_that_predict_finds(server, exported_tagger):
    expected = json.loads(invoke("predict", exported_tagger, *TEXTS, "--json").stdout)
    _, answer = curl(server, "/v1/models/tagger:predict", {"instances": TEXTS})
    for row, wanted in zip(answer["predictions"], expected, strict=True):
        count = len(wanted["entities"])
        assert row["entity"][:count] == [entity["text"] for entity in wanted["entities"]]
        assert row["start"][:count] == [entity["start"] for entity in wanted["entities"]]
        assert row["probability"][:count] == pytest.approx([e["probability"] for e in wanted["entities"]], rel=1e-4)
    assert any(wanted["entities"] for wanted in expected)


def test_another_signature_and_rows_of_unequal_length(server):
    body = {"signature_name": "tokens", "instances": [["Mr", "Bob", "Lee"], ["Hi"]]}
    status, answer = curl(server, "/v1/models/tagger:predict", body)
    assert status == 200 and len(answer["predictions"]) == 2


def test_strings_may_be_base64_and_answers_that_are_no_text_are(server):
    encoded = {"b64": base64.b64encode(b"a \xff").decode()}
    _, answer = curl(server, "/v1/models/words:predict", {"instances": [encoded, "b"]})
    first, second = answer["predictions"]
    assert first["words"] == ["a", {"b64": base64.b64encode(b"\xff").decode()}]
    assert second == {"words": ["b", ""], "lengths": [1, 0], "length": 1}


def test_a_request_may_be_compressed(server, tmp_path):
    import gzip

    (tmp_path / "body").write_bytes(gzip.compress(json.dumps({"instances": ["a b"]}).encode()))
    options = ["--data-binary", f"@{tmp_path}/body", "-H", "Content-Encoding: gzip"]
    assert curl(server, "/v1/models/words:predict", None, *options)[1]["predictions"][0]["lengths"] == [1, 1]


def test_examples_are_classified_and_regressed(server):
    examples = [{"x": 0.25}, {"x": [0.5]}]
    assert curl(server, "/v1/models/judge:classify", {"examples": examples}) == (
        200,
        {"results": [[["low", 0.75], ["high", 0.25]], [["low", 0.5], ["high", 0.5]]]},
    )
    body = {"signature_name": "twice", "context": {"x": 0.25}, "examples": [{}, {"x": 1.0}]}
    assert curl(server, "/v1/models/judge:regress", body) == (200, {"results": [0.5, 2.0]})


def test_status_and_metadata(server):
    status, answer = curl(server, "/v1/models/adder")
    assert (status, answer["model_version_status"]) == (
        200,
        [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}],
    )
    _, answer = curl(server, "/v1/models/houses/versions/1/metadata")
    assert answer["model_spec"] == {"name": "houses", "signature_name": "", "version": "1"}
    inputs = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["district"]["dtype"] == "DT_STRING"
    assert inputs["age"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


MISTAKES = {
    "no JSON": ("adder:predict", "{", 400, "JSON Parse error"),
    "no object": ("adder:predict", "[1]", 400, "the body is not a JSON object"),
    "deep": ("adder:predict", "[" * 100_000, 400, "JSON Parse error"),
    "deep instances": ("adder:predict", {"instances": [[[[[[1]]]]]]}, 400, "must have the shape (any)"),
    "neither": ("adder:predict", {}, 400, "either 'instances'"),
    "both": ("adder:predict", {"instances": [1], "inputs": [1]}, 400, "either 'instances'"),
    "no rows": ("adder:predict", {"instances": []}, 400, "non-empty"),
    "no column": ("adder:predict", {"inputs": {"x": []}}, 400, "'x' is empty"),
    "a scalar": ("adder:predict", {"inputs": {"x": 1}}, 400, "must have the shape (any), not ()"),
    "text for a number": ("adder:predict", {"instances": ["1"]}, 400, "'x' must be float32, not '1'"),
    "true for a number": ("adder:predict", {"instances": [True]}, 400, "'x' must be float32, not 'True'"),
    "null for a text": ("words:predict", {"instances": [None]}, 400, "must be string"),
    "bad base64": ("words:predict", {"instances": [{"b64": "?"}]}, 400, "not base64"),
    "lone surrogate": ("words:predict", '{"instances": ["\\ud800"]}', 400, ""),
    "lists and values": (
        "tagger:predict",
        {"signature_name": "tokens", "instances": [["a"], "b"]},
        400,
        "mixes values and lists",
    ),
    "lists for texts": ("words:predict", {"instances": [["a"], "b"]}, 400, "must have the shape (any), not (2, 1)"),
    "too many rows": ("adder:predict", {"instances": [1] * 1025}, 400, "1,025 rows"),
    "fraction for an int": ("words:predict", {"signature_name": "echo", "inputs": [[1.5]]}, 400, "whole numbers"),
    "beyond an int": (
        "words:predict",
        {"signature_name": "echo", "inputs": [[1 << 40]]},
        400,
        "outside the range of int32",
    ),
    "beyond any int": (
        "words:predict",
        {"signature_name": "echo", "inputs": [[1 << 80]]},
        400,
        "outside the range of int32",
    ),
    "wide rows": (
        "words:predict",
        {"signature_name": "echo", "inputs": [[1] * 100_000] + [[1]] * 1000},
        400,
        "too large after its rows are padded",
    ),
    "missing input": (
        "houses:predict",
        {"instances": [{"age": 1}]},
        400,
        "Missing but required: {Area__m2_, district}",
    ),
    "extra input": ("adder:predict", {"instances": [{"x": 1, "z": 2}]}, 400, "Sent extra: {z}"),
    "no names": ("houses:predict", {"instances": [1]}, 400, "must be an object with: Area__m2_, age, district"),
    "mixed rows": ("adder:predict", {"instances": [{"x": 1}, 2]}, 400, "instances[1] is not an object"),
    "unknown signature": ("adder:predict", {"signature_name": "z", "instances": [1]}, 400, '"z" not found'),
    "signature of no text": ("adder:predict", {"signature_name": 3, "instances": [1]}, 400, "must be a string"),
    "unknown model": ("none:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(none)"),
    "unknown version": ("adder/versions/7:predict", {"instances": [1]}, 404, "Specific(adder, 7)"),
    "version of no number": ("adder/versions/x:predict", {"instances": [1]}, 400, "version: "),
    "unknown label": (
        "adder/labels/none:predict",
        {"instances": [1]},
        400,
        "Unrecognized servable version label: none",
    ),
    "unknown verb": ("adder:divine", {"instances": [1]}, 405, "Malformed request: POST"),
    "no classifier": ("adder:classify", {"examples": [{"x": 1}]}, 400, "does not accept tf.Examples"),
    "no examples": ("judge:classify", {"examples": []}, 400, "non-empty"),
    "a wrong example": ("judge:classify", {"examples": [{"x": [1, "a"]}]}, 400, "feature 'x'"),
    "an example without its feature": ("judge:classify", {"examples": [{}]}, 400, "could not be found"),
    "no stream": ("adder:stream", {"inputs": {"x": [1]}}, 400, '"stream_start" not found'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_its_reason(mistake, server, tmp_path):
    path, body, expected, reason = MISTAKES[mistake]
    (tmp_path / "body").write_text(body if isinstance(body, str) else json.dumps(body))
    status, answer = curl(server, f"/v1/models/{path}", None, "--data-binary", f"@{tmp_path}/body")
    assert (status, set(answer)) == (expected, {"error"})
    assert reason in answer["error"]
    assert "Traceback" not in answer["error"] and "{{node" not in answer["error"]
