"""Connections that are offered upgrades, refused, idle or reset."""

import base64
import io
import json
import socket

import pytest
from PIL import Image
from serving import toys
from serving.servers import until

from pipelines.serving.models.images import pixels
from pipelines.serving.request_errors import RequestError

PREDICT = "/v1/models/adder:predict"
BODY = b'{"instances":[1]}'


def head(*lines: str, body: bytes = BODY) -> bytes:
    first = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def received(client: socket.socket) -> tuple[bytes, bytes]:
    """One response: its head and its body."""
    client.settimeout(60)
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1) or pytest.fail("closed")
    lines = dict(line.lower().split(b": ", 1) for line in data.split(b"\r\n")[1:-2])
    body = b""
    while len(body) < int(lines[b"content-length"]):
        body += client.recv(int(lines[b"content-length"]) - len(body))
    return data, body


@pytest.mark.parametrize("offered", ["h2c", "websocket", "TLS/1.3"])
@pytest.mark.parametrize("parts", [1, 2, 500])
def test_an_upgrade_that_is_not_taken_is_ignored(offered, parts, toys_server):
    lines = [f"Upgrade: {offered}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"]
    whole = head(*lines) + BODY
    with socket.create_connection(("127.0.0.1", toys_server.port)) as client:
        for _ in range(2):  # and the connection goes on
            for start in range(0, len(whole), size := -(-len(whole) // parts)):
                client.sendall(whole[start : start + size])
            status, body = received(client)
            assert status.startswith(b"HTTP/1.1 200") and json.loads(body)["predictions"][0]["y"] == 2
            assert b"close" not in status


REFUSED = {
    "too large": head(body=b" " * (33 << 20)),
    "unknown encoding": head("Content-Encoding: br"),
    "no number": head("Transfer-Encoding: chunked").replace(b"Content-Length: 17\r\n", b"Content-Encoding: x\r\n"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_connection_is_closed_if_the_body_was_refused(refused, toys_server):
    with socket.create_connection(("127.0.0.1", toys_server.port)) as client:
        client.sendall(REFUSED[refused])
        status, _ = received(client)
        assert status.split()[1] in (b"413", b"415") and b"connection: close" in status.lower()
        assert client.recv(1) == b""


def test_a_connection_stays_open_after_a_mistake_in_a_body_that_was_read(toys_server):
    with socket.create_connection(("127.0.0.1", toys_server.port)) as client:
        for body in (b"{}", b"[", BODY):
            client.sendall(head(body=body) + body)
            status, _ = received(client)
        assert status.startswith(b"HTTP/1.1 200")


def test_idle_connections_hinder_neither_probes_nor_requests(toys_server):
    idle = [socket.create_connection(("127.0.0.1", toys_server.port)) for _ in range(1005)]
    try:
        for one in idle[::3]:
            one.sendall(b"GET /live HT")
        for _ in range(20):
            assert toys_server.get("/live").status_code == 200
            assert toys_server.post(PREDICT, {"instances": [1]}).status_code == 200
    finally:
        for one in idle:
            one.close()


def test_who_has_gone_is_not_answered(started, tmp_path):
    toys.write_slow(tmp_path / "slow", 0.5)
    server = started(tmp_path / "slow", "--max-batch-size", 1)
    asked = head().replace(b"adder", b"slow") + BODY
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
    for client in clients:
        client.sendall(asked)
    for client in clients:
        client.close()
    until(lambda: server.log.read_text().count('"status":499') == 12)
    assert "Traceback" not in server.log.read_text()


def progressive(scans: int) -> bytes:
    """A JPEG that goes over its pixels again and again: its last scan is repeated."""
    buffer = io.BytesIO()
    Image.new("L", (1000, 1000), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def animated(frames: int) -> bytes:
    buffer = io.BytesIO()
    images = [Image.new("L", (100, 100), number) for number in range(frames)]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:])
    return buffer.getvalue()


def test_pixels_are_counted_as_often_as_they_are_decoded():
    assert pixels(progressive(1)) == 1_000_000
    assert pixels(progressive(2000)) > 100_000_000
    assert pixels(animated(1)) == 10_000
    assert pixels(animated(7)) == 70_000


def test_images_that_mean_more_work_than_they_show_are_refused(toys_server):
    for image, reason in (
        (progressive(2000), "pixels in total"),
        (b"\xff\x0a\xfa\x1f" + bytes(99), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
    ):
        with pytest.raises(RequestError) if reason == "JPEG XL" else pytest.MonkeyPatch.context():
            pixels(image)
        body = {"instances": [{"b64": base64.b64encode(image).decode()}]}
        answer = toys_server.post("/v1/models/pictures:predict", body)
        assert answer.status_code == 400 and reason in answer.json()["error"]
