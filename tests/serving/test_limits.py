"""What is too large, too slow, damaged or without the token gets its status, and the server lives on."""

import base64
import contextlib
import io
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving import toys
from serving.servers import Server
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

PREDICT = "/v1/models/adder:predict"
TOKEN = "not-so-secret"


def encoded(image: bytes) -> dict:
    return {"instances": [{"b64": base64.b64encode(image).decode()}]}


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it is as large as this, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def animated_webp() -> bytes:
    """Two frames, the first of which TensorFlow 2.21 reads into too little memory."""
    first, second = (Image.effect_noise((30, 20), sigma) for sigma in (40, 80))
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=[second])
    return buffer.getvalue()


def test_images_are_answered_and_those_that_are_none_are_refused(server):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (3, 3, 3)).save(buffer, "JPEG")
    good = buffer.getvalue()
    assert server.post("/v1/models/pictures:predict", encoded(good)).json() == {
        "predictions": [pytest.approx(3, abs=1)]
    }
    for bad in (
        good[:60],
        b"\xff\xd8\xff" + b"x" * 99,
        png(4, 4, b""),
        b"BM",
        b"GIF89a",
        b"RIFF0000WEBP",
        animated_webp(),
        b"text",
        b"",
    ):
        answer = server.post("/v1/models/pictures:predict", encoded(bad))
        assert answer.status_code == 400 and answer.json()["error"]


def test_a_decompression_bomb_is_refused_by_its_header(server):
    before = server.memory()
    for bomb in (png(50_000, 50_000, bytes(50_000)), png(5001, 5000), png(2**31 - 1, 2**31 - 1)):
        answer = server.post("/v1/models/pictures:predict", encoded(bomb))
        assert answer.status_code == 400
        assert "pixels" in answer.json()["error"] or "image" in answer.json()["error"]
    assert server.memory() - before < 50 << 20


def test_a_text_that_is_too_long_is_refused(server):
    answer = server.post("/v1/models/words:predict", {"instances": ["a" * 100_001]})
    assert answer.status_code == 400 and "text of 100,001 bytes; at most 100,000" in answer.json()["error"]


def test_large_bodies_are_refused_with_bounded_memory(server):
    before = server.memory()
    large = b" " * (100 << 20)
    closed = contextlib.suppress(httpx.WriteError, httpx.ReadError)  # under a client that goes on sending
    with closed:  # refused by its length, before it is sent whole
        assert httpx.post(server.url + PREDICT, content=large, timeout=60).status_code == 413
    chunks = (large[: 1 << 20] for _ in range(100))
    with closed:
        assert httpx.post(server.url + PREDICT, content=chunks, timeout=60).status_code == 413
    bomb = zlib.compress(large)
    answer = httpx.post(server.url + PREDICT, content=bomb, headers={"Content-Encoding": "deflate"}, timeout=60)
    assert answer.status_code == 413
    for content, kind, status in ((b"x", "gzip", 400), (bomb[:50], "deflate", 400), (b"x", "br", 415)):
        answer = httpx.post(server.url + PREDICT, content=content, headers={"Content-Encoding": kind})
        assert answer.status_code == status and answer.json()["error"]
    assert server.memory() - before < 250 << 20
    assert server.post(PREDICT, {"instances": [1]}).status_code == 200


def test_headers_without_end_are_refused(server):
    before, sent = server.memory(), 0
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(20)
        client.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 100 << 20:
                sent += client.send(b"X-A: " + b"a" * 10_000 + b"\r\n")
    assert sent < 20 << 20, "the connection was closed"
    assert server.memory() - before < 50 << 20
    assert server.get("/live", headers={"X-A": "a" * 10_000}).status_code == 200


def test_a_large_message_over_grpc_is_refused(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(10 << 20, "f4")))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 60)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_full_queue_says_when_to_come_back(started, tmp_path):
    toys.write_slow(tmp_path / "slow", 0.5)
    server = started(tmp_path / "slow", "--max-batch-size", 1, "--max-queue", 1)
    answers = []
    body = {"instances": [1.0]}
    clients = [
        threading.Thread(target=lambda: answers.append(server.post("/v1/models/slow:predict", body))) for _ in range(12)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status_code == 429)


def test_slow_clients_are_let_go_and_hinder_nobody(tmp_path):
    toys.write_adder(tmp_path / "adder", 1)
    server = Server(tmp_path / "log.jsonl", tmp_path / "adder", "--read-seconds", 1.5)
    try:
        address = ("127.0.0.1", server.port)
        with (
            socket.create_connection(address) as silent,
            socket.create_connection(address) as headers,
            socket.create_connection(address) as body,
        ):
            headers.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX-")
            body.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{{".encode())
            assert server.post(PREDICT, {"instances": [1]}).status_code == 200
            began = time.monotonic()
            for slow in (silent, headers, body):
                slow.settimeout(20)
            assert b" 408 " in body.recv(1000).splitlines()[0]
            assert headers.recv(1000) == silent.recv(1000) == b""
            assert time.monotonic() - began < 10
    finally:
        assert server.stop() == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a token and TLS."""
    folder = tmp_path_factory.mktemp("guarded")
    toys.write_adder(folder / "adder", 1)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
    )
    options = ["--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem"]
    server = Server(folder / "log.jsonl", folder / "adder", *options, scheme="https", PIPELINES_TOKEN=TOKEN)
    server.trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    server.certificate = (folder / "cert.pem").read_bytes()
    yield server
    assert server.stop() == 0
    assert TOKEN not in server.log.read_text()


def test_the_token_is_asked_for_over_http(guarded):
    body = {"instances": [1]}
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    for given, status in {
        f"Bearer {TOKEN}": 200,
        f"bearer {TOKEN}": 200,
        f"Bearer {TOKEN}x": 401,
        "Bearer": 401,
        "Bearer ü".encode().decode("latin-1"): 401,
        f"Basic {basic}": 401,
        "": 401,
    }.items():
        headers = {"Authorization": given.encode("latin-1")}
        answer = httpx.post(guarded.url + PREDICT, json=body, headers=headers, verify=guarded.trust, timeout=60)
        assert (answer.status_code, "error" in answer.json()) == (status, status == 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    for page in ("/", "/docs"):
        answer = httpx.get(guarded.url + page, verify=guarded.trust)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Basic")
    assert httpx.get(guarded.url + "/docs", auth=("me", TOKEN), verify=guarded.trust).status_code == 200
    assert httpx.get(guarded.url + "/live", verify=guarded.trust).status_code == 200
    assert httpx.get(guarded.url + "/metrics", verify=guarded.trust).status_code == 401


def test_the_token_is_asked_for_over_grpc(guarded):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adder"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    credentials = grpc.ssl_channel_credentials(guarded.certificate)
    with grpc.secure_channel(f"localhost:{guarded.grpc_port}", credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, 60, metadata=[("authorization", f"Bearer {TOKEN}")])
        assert tf.make_ndarray(answer.outputs["y"]).tolist() == [2]
        for metadata in ([], [("authorization", "Bearer no")]):
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(request, 60, metadata=metadata)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_large_answers_are_compressed_for_who_accepts_that(toys_server):
    def asked(columns: int, accepted: str) -> httpx.Response:
        body = {"signature_name": "echo", "instances": [list(range(columns)), [7] * columns]}
        answer = toys_server.post("/v1/models/words:predict", body, headers={"Accept-Encoding": accepted})
        assert answer.json()["predictions"] == body["instances"]
        return answer

    large, plain = asked(4000, "gzip"), asked(4000, "identity")
    assert large.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert large.num_bytes_downloaded == int(large.headers["Content-Length"]) < len(plain.content) / 2
    assert large.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in asked(10, "gzip").headers


def test_requests_are_logged_with_their_ids(server):
    answer = server.post(PREDICT, {"instances": [1]}, headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert server.post(PREDICT, {}, headers={"X-Request-ID": "not one\t!"}).headers["X-Request-ID"] != "not one\t!"
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "mine-1"]
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "POST", PREDICT, 200)


def test_a_path_of_line_ends_is_one_line_of_the_log(server):
    server.get("/v1/models/%0a%0d%c2%85%e2%80%a8%e2%80%a9%1c", headers={"X-Request-ID": "mine-2"})
    (line,) = [line for line in server.log.read_text().splitlines() if "mine-2" in line]
    assert json.loads(line)["path"] == "/v1/models/\n\r\x85\u2028\u2029\x1c"


def test_the_server_starts_without_keras_gradio_and_the_code_of_tasks(tmp_path, toy_exports):
    code = """
import atexit, sys
from pipelines import cli
def tell():
    found = sorted({"keras", "gradio", "pipelines.tasks"} & sys.modules.keys())
    print("found", found, file=sys.stderr)
atexit.register(tell)
cli.main()
"""
    server = Server(tmp_path / "log", toy_exports / "adder", command=("-c", code, "serve"))
    assert server.post(PREDICT, {"instances": [1]}).status_code == 200
    assert server.stop() == 0
    assert "found []" in server.log.read_text()
