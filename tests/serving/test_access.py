"""Who may use the server: web pages of other origins, and clients with tokens of their own."""

import json

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from conftest import invoke
from serving.servers import Server
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipelines.serving.access import Access
from pipelines.serving.request_errors import RequestError

PREDICT = "/v1/models/adder:predict"
TOKEN = "not-so-secret"
PAGE = "https://page.example"


def test_pages_of_the_origins_named_may_call_the_server(started, toy_exports):
    server = started(toy_exports / "adder", "--cors-origin", PAGE, PIPELINES_TOKEN=TOKEN)

    def preflight(origin: str) -> httpx.Response:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        return httpx.options(server.url + PREDICT, headers={"Origin": origin, **asked})

    allowed = preflight(PAGE)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    for headers, status in (({"Authorization": f"Bearer {TOKEN}"}, 200), ({}, 401)):  # a page can read a refusal too
        answer = server.post(PREDICT, {"instances": [1]}, headers={"Origin": PAGE, **headers})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    refused = preflight("https://other.example")
    assert refused.status_code == 400 and "Access-Control-Allow-Origin" not in refused.headers
    stranger = server.post(PREDICT, {"instances": [1]}, headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_no_page_may_call_a_server_by_default(toys_server):
    answer = toys_server.post(PREDICT, {"instances": [1]}, headers={"Origin": PAGE})
    assert answer.status_code == 200 and not any("access-control" in name for name in answer.headers)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    assert httpx.options(toys_server.url + PREDICT, headers=asked).status_code == 405


@pytest.mark.parametrize("origin", ["page.example", "https://page.example/", "https://Page.example", ""])
def test_an_origin_that_no_browser_sends_is_refused(origin, toy_exports):
    result = invoke("serve", toy_exports / "adder", "--cors-origin", origin)
    assert result.exit_code == 1 and "--cors-origin" in result.output and "https://example.org" in result.output


TOKENS = "# who may use the models\n\nbilling: 6f1c0b2a9d\nsearch:0e7a44c1f3\n"


def token_file(folder, text: str = TOKENS, mode: int = 0o640):
    file = folder / "tokens"
    file.write_text(text)
    file.chmod(mode)
    return file


def status(server: Server, token: str) -> int:
    return server.post(PREDICT, {"instances": [1]}, headers={"Authorization": f"Bearer {token}"}).status_code


def code(server: Server, token: str) -> str:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            stub.Predict(request, 60, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def test_clients_with_tokens_of_their_own_are_named_in_the_log(started, toy_exports, tmp_path):
    server = started(toy_exports / "adder", "--tokens", token_file(tmp_path), PIPELINES_TOKEN=TOKEN)
    asked = {"6f1c0b2a9d": "billing", "0e7a44c1f3": "search", TOKEN: None, "search": None, "6f1c0b2a9d0": None}
    http = {token: status(server, token) for token in asked}
    over_grpc = {token: code(server, token) for token in asked}
    known = ("6f1c0b2a9d", "0e7a44c1f3", TOKEN)
    assert http == {token: 200 if token in known else 401 for token in asked}
    assert over_grpc == {token: "OK" if token in known else "UNAUTHENTICATED" for token in asked}
    text = server.log.read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request"]
    for protocol in ("rest", "grpc"):
        names = [line.get("token_name") for line in lines if line["protocol"] == protocol]
        assert names == list(asked.values())
    assert not any(token in text for token in known)


def test_requests_of_a_token_beyond_its_limit_are_refused(started, toy_exports, tmp_path):
    options = ["--tokens", token_file(tmp_path), "--requests-per-second", 0.01]
    server = started(toy_exports / "adder", *options)
    assert status(server, "6f1c0b2a9d") == 200
    refused = server.post(PREDICT, {"instances": [1]}, headers={"Authorization": "Bearer 6f1c0b2a9d"})
    assert refused.status_code == 429 and "0.01 requests per second" in refused.json()["error"]
    assert 90 <= int(refused.headers["Retry-After"]) <= 100
    assert code(server, "6f1c0b2a9d") == "RESOURCE_EXHAUSTED"
    assert (code(server, "0e7a44c1f3"), status(server, "0e7a44c1f3")) == ("OK", 429), "each token has its own limit"
    assert server.get("/metrics", headers={"Authorization": "Bearer 6f1c0b2a9d"}).status_code == 200
    assert server.get("/ready").status_code == 200


def test_a_token_may_send_the_requests_of_a_second_at_once(monkeypatch):
    now = 1e6
    monkeypatch.setattr("pipelines.serving.access.time.monotonic", lambda: now)
    access = Access({"one": "a", "two": "b"}, 4)

    def accepted(client: str, of: int = 9) -> int:
        count = 0
        for _ in range(of):
            try:
                access.count(client)
                count += 1
            except RequestError as error:
                assert error.headers == {"Retry-After": "1"}
        return count

    assert (accepted("one"), accepted("two", 3)) == (4, 3)
    now += 0.5
    assert (accepted("one"), accepted("two")) == (2, 3)
    now += 3600  # what is not used is not saved up
    assert accepted("one") == 4


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (TOKENS, 0o644, "other users can read these tokens; run: chmod o-r"),
        ("", 0o600, "has no tokens"),
        ("billing: a\nb4d\n", 0o600, "tokens:2: should be a name and a token"),
        ("billing: \n", 0o600, "tokens:1: should be a name and a token"),
        ("billing: b4d b4d\n", 0o600, "tokens:1: should be a name and a token"),
        ("billing: b4d\nsearch: b4d\n", 0o600, "tokens:2: this name or token is in the file already"),
        ("billing: b4d\nbilling: e\n", 0o600, "tokens:2: this name or token is in the file already"),
    ],
)
def test_a_file_of_tokens_that_cannot_be_used_is_refused(text, mode, reason, toy_exports, tmp_path):
    result = invoke("serve", toy_exports / "adder", "--tokens", token_file(tmp_path, text, mode))
    assert result.exit_code == 1 and reason in result.output and "b4d" not in result.output


def test_a_limit_of_tokens_needs_tokens(toy_exports, tmp_path, monkeypatch):
    monkeypatch.delenv("PIPELINES_TOKEN", raising=False)
    result = invoke("serve", toy_exports / "adder", "--requests-per-second", 5)
    assert result.exit_code == 1 and "set --tokens or --token" in result.output
    result = invoke("serve", toy_exports / "adder", "--tokens", tmp_path / "nowhere")
    assert result.exit_code == 1 and "nowhere: cannot read the tokens" in result.output
