"""Hostile HTTP requests from a seeded generator: bodies, envelopes, connections and places.

A request is a list of steps: bytes to send, seconds to wait, or a way to leave.
"""

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from campaign_clean import START, Model, binary, plain
from campaign_images import image
from campaign_json import MEBIBYTE, as_list, as_object, changed, odd, quoted

LEAVE, HALF_CLOSE = "leave", "half close"  # without reading, or with reading on
Step = bytes | float | str
SLOW = 1.0  # seconds between the parts of a slow request


@dataclass(frozen=True)
class Attack:
    """Make a hostile request."""

    protocol: str
    kind: str
    steps: list[Step]


def rest(random: random.Random, models: list[Model]) -> Attack:
    """Make a body of TensorFlow Serving's REST API that is wrong in one place."""
    model = random.choice(models)
    signature = random.choice(list(model.signatures))
    columns = {name: plain(array) for name, array in model.arrays(signature).items()}
    row = {name: json.dumps(values[0] if isinstance(values, list) else values) for name, values in columns.items()}
    verb = random.choice(("predict",) * 6 + ("classify", "regress", "stream", "stream", "explode"))
    named = {"signature_name": random.choice((json.dumps(signature), odd(random)))} if random.random() < 0.9 else {}
    if random.random() < 0.5:
        wrong = changed(random, row)
        rows = [wrong] * random.choice((1, 2, 1_025)) if len(wrong) < 5_000 else [wrong]
        body = {"instances": as_list([json.dumps(columns), *rows] if random.random() < 0.2 else rows), **named}
    else:
        body = {"inputs": changed(random, row), **named}
    if verb in ("classify", "regress"):
        body = {"examples": as_list([odd(random), odd(random)]), "context": odd(random), **named}
    content = changed(random, body) if random.random() < 0.4 else as_object(body.items())
    return Attack("REST", f"wrong {verb}", _post(f"/v1/models/{model.name}:{verb}", content))


def images(random: random.Random, models: list[Model]) -> Attack:
    """Make an image that is none, or means more work than it shows."""
    model = random.choice([model for model in models if model.has_images] or models)
    kind, content = image(random)
    if random.random() < 0.3:
        name = next(iter(model.signatures[model.default]))
        head = [{"name": name, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4 + len(content)}}]
        text = json.dumps({"inputs": head}).encode()
        length = f"Inference-Header-Content-Length: {len(text)}"
        body = text + len(content).to_bytes(4, "little") + content
        return Attack("OIP HTTP", f"image: {kind}", _post(f"/v2/models/{model.name}/infer", body, length))
    body = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}] * random.choice((1, 1, 3))}).encode()
    return Attack("REST", f"image: {kind}", _post(f"/v1/models/{model.name}:predict", body))


def open_inference(random: random.Random, models: list[Model]) -> Attack:
    """Make a body of the Open Inference Protocol that is wrong in one place."""
    model = random.choice(models)
    signature = random.choice(list(model.signatures))
    arrays = model.arrays(signature)
    place = f"/v2/models/{model.name}{random.choice(('', '', '', '/versions/1', '/versions/x'))}/infer"
    head, content = binary(arrays, {"signature_name": signature})
    if random.random() < 0.5:
        cut = random.choice((len(content), 0, len(content) // 2, len(content) + 7))
        content = (content + bytes(7))[:cut]
        told = random.choice((len(head), 0, len(head) // 2, len(head) + 10**6, -1, 10**30, "x"))
        size = random.choice((b"0", b"-1", b"1e3", b"99999999999999999999", b"null", b"4"))
        sizes = b'"binary_data_size": '
        if random.random() < 0.5:
            before, _, after = head.partition(sizes)
            head, told = before + sizes + size + after.lstrip(b"0123456789"), len(head)
        header = f"Inference-Header-Content-Length: {told}"
        return Attack("OIP HTTP", "wrong binary", _post(place, head + content, header))
    tensors = [
        changed(random, {key: json.dumps(value) for key, value in tensor.items()} | {"data": odd(random)})
        for tensor in json.loads(head)["inputs"]
    ]
    body = {"inputs": as_list(tensors), "outputs": odd(random), "parameters": odd(random), "id": odd(random)}
    kept = {name: value for name, value in body.items() if name == "inputs" or random.random() < 0.3}
    return Attack("OIP HTTP", "wrong JSON", _post(place, changed(random, kept)))


OPENAI_VALUES = {
    "max_tokens": ("-1", "0", "1e9", '"3"', "1.5", "10000", "99999999999999999999", "4"),
    "temperature": ("-1", "1e9", "NaN", "Infinity", '"x"', "0", "1e-30"),
    "top_p": ("0", "-1", "1.1", "NaN", "1e-9", "[]"),
    "top_k": ("-1", "2147483648", "1.0", "99999999999"),
    "n": ("0", "1000", "-1", "99999999999999999999", "2"),
    "stop": ('["a","b"]', "[1]", '[""]', '""', quoted("a" * 100_000), json.dumps(["x"] * 17), "{}"),
    "seed": ("-1", str(2**70), "1.5", '"a"', str(-(2**31))),
    "logprobs": ("-1", "21", "true", "5", '"a"'),
    "stream": ("true", "1", '"yes"'),
    "stream_options": ('{"include_usage":1}', "[]", '{"x":true}'),
    "echo": ("true",),
    "best_of": ("3",),
    "logit_bias": ('{"1":9}',),
    "response_format": ('{"type":"json_object"}',),
    "tools": ("[{}]",),
}


def openai(random: random.Random, models: list[Model]) -> Attack:
    """Make a request to OpenAI's API with parameters out of their ranges, or a stream that nobody reads to its end."""
    writers = [model.name for model in models if model.writes]
    name = random.choice([*writers * 3, *(model.name for model in models), "none", "", "../x"])
    chats = random.random() < 0.3
    place = "/v1/chat/completions" if chats else "/v1/completions"
    message = '[{"role":"user","content":"two cats"}]'
    body = {"model": json.dumps(name), "messages": message} if chats else {"model": json.dumps(name), "prompt": '"It"'}
    if writers and random.random() < 0.2:
        body |= {"model": json.dumps(random.choice(writers)), "stream": "true", "max_tokens": "400"}
        steps = _post(place, as_object(body.items()))
        return Attack("OpenAI", "stream left", [*steps, random.random() / 2, LEAVE])
    for key in random.sample(sorted(OPENAI_VALUES), random.randrange(1, 4)):
        body[key] = random.choice(OPENAI_VALUES[key])
    if random.random() < 0.3:
        body["messages" if chats else "prompt"] = odd(random)
    content = changed(random, body) if random.random() < 0.3 else as_object(body.items())
    return Attack("OpenAI", "parameters", _post(place, content))


READ_PLACES = (  # of the playground, below either of its roots
    *(
        "queue/data",
        "queue/status",
        "upload_progress",
        "heartbeat/x",
        "config",
        "theme.css",
        "info",
        "user",
        "login_check",
    ),
    *("file=/etc/passwd", "file=../../etc/passwd", "file/%2e%2e/%2e%2e/etc/passwd", "file=http://127.0.0.1:1/x"),
    *("static/../../../etc/passwd", "assets/%2e%2e/x", "svelte/..%2f..%2fx", "custom_component/a/b/c/d", "proxy=x"),
    *("proxy=http://127.0.0.1:1/", "logout", "deep_link", "monitoring", "monitoring/x", "monitoring/summary", "app_id"),
    *("startup-events", "token", "run-history/buckets", "run-history/records", "dev/reload", "profiling/traces"),
    *("pwa_icon/99999999999", "pwa_icon", "manifest.json", "robots.txt", "openapi.json", "call/x/y", "call/v2/x/y"),
    *("runs", "vibe-code", "stream/a/b/c/playlist.m3u8", "stream/a/b/c/d.ts", "%00", "x/y", "", "favicon.ico"),
)
WRITTEN_PLACES = (
    *(
        "queue/join",
        "run/predict",
        "api/predict",
        "call/predict",
        "call/v2/predict",
        "run/0",
        "upload",
        "cancel",
        "reset",
    ),
    *(
        "component_server",
        "stream/x",
        "stream/x/close",
        "login",
        "process_recording",
        "run-history/connect",
        "vibe-edit",
    ),
    *("profiling/clear", "vibe-code", "undo-vibe-edit", "vibe-starter-queries"),
)
GRADIO = {
    "data": "[1]",
    "fn_index": "0",
    "session_hash": '"x"',
    "event_id": '"y"',
    "event_data": "null",
    "trigger_id": "1",
}


def playground(random: random.Random, models: list[Model]) -> Attack:
    """Make a request to a place of the playground or of its framework."""
    root = random.choice(("/playground/gradio_api/", "/playground/gradio_api/", "/playground/"))
    if random.random() < 0.4:
        place = root + random.choice(READ_PLACES)
        place += "?" + random.choice(
            ("session_hash=x", "session_hash=%00", "a=" + "b" * 9_000, "upload_id=1", "__theme=x", "view=" + "%ff" * 9)
        )
        return Attack("playground", "places", _request("GET", place))
    place = root + random.choice(WRITTEN_PLACES)
    if random.random() < 0.3:
        boundary = random.choice(("x", "", "x" * 300, '"'))
        parts = random.choice(
            (
                b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../a"\r\n\r\nabc\r\n--x--\r\n',
                b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n',
                b"--x\r\n" * 5_000,
                b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
                bytes(range(256)),
                b"",
            )
        )
        return Attack("playground", "forms", _post(place, parts, kind=f"multipart/form-data; boundary={boundary}"))
    fields = {name: value for name, value in GRADIO.items() if random.random() < 0.7} or GRADIO
    method = random.choice(("POST", "POST", "POST", "PUT", "DELETE", "PATCH"))
    return Attack("playground", "JSON", _request(method, place, changed(random, fields)))


def damaged(random: random.Random, models: list[Model]) -> Attack:
    """Make a clean body whose bytes are cut, changed, doubled or of another encoding."""
    protocol, place, body = clean(random, models)
    where = random.randrange(1, len(body))
    text = body.decode()
    changes: dict[str, Callable[[], bytes]] = {
        "cut": lambda: body[:where],
        "bytes changed": lambda: body[:where] + random.randbytes(3) + body[where:],
        "no UTF-8": lambda: body[:where] + random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00")) + body[where:],
        "UTF-16": lambda: text.encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7"))),
        "more after it": lambda: body + random.choice((b"x", body, b"\x00" * 100, b" " * MEBIBYTE)),
        "random": lambda: random.randbytes(random.choice((1, 100, 100_000))),
        "nothing": lambda: b"",
        "brackets": lambda: random.choice((b"[", b"{", b'{"a":', b"[[[", b'"')) * random.choice((1, 10_000, 2_000_000)),
        "no object": lambda: random.choice((b"[]", b"1", b"null", b'"a"', b"NaN", b"[{}]")),
    }
    kind = random.choice(list(changes))
    return Attack(protocol, f"body: {kind}", _post(place, changes[kind]()))


def encoded(random: random.Random, models: list[Model]) -> Attack:
    """Make a body with a wrong type or encoding, or one that unpacks to much more."""
    protocol, place, body = clean(random, models)
    packed = gzip.compress(body)
    changes: dict[str, Callable[[], tuple[bytes, str]]] = {
        "bomb": lambda: (bomb(random.randrange(len(BOMBS))), "gzip"),
        "cut gzip": lambda: (packed[: random.randrange(len(packed))], "gzip"),
        "changed gzip": lambda: (packed[:-9] + random.randbytes(9), "gzip"),
        "gzip twice": lambda: (gzip.compress(packed), random.choice(("gzip", "gzip, gzip"))),
        "two members": lambda: (packed + packed, "gzip"),
        "no gzip": lambda: (body, random.choice(("gzip", "deflate"))),
        "raw deflate": lambda: (zlib.compress(body, wbits=-15), "deflate"),
        "unknown encoding": lambda: (
            body,
            random.choice(("br", "zstd", "compress", "x" * 5_000, "\xfc", "identity,gzip")),
        ),
    }
    kind = random.choice([*changes, "content type"])
    if kind == "content type":
        types = ("text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", "", "\xff")
        return Attack(protocol, kind, _post(place, body, kind=random.choice(types)))
    content, encoding = changes[kind]()
    return Attack(protocol, f"encoding: {kind}", _post(place, content, f"Content-Encoding: {encoding}"))


BOMBS = (
    lambda: bytes(400 * MEBIBYTE),
    lambda: b'{"instances":[' + b"null," * (6 * MEBIBYTE),
    lambda: b'{"instances":[' + b"[]," * (10 * MEBIBYTE) + b"[]]}",
    lambda: b'{"inputs":{"x":[' + b'"",' * (10 * MEBIBYTE) + b'""]}}',
    lambda: b"[" * (31 * MEBIBYTE),
    lambda: b'"' + b"a" * (31 * MEBIBYTE) + b'"',
)


@cache
def bomb(number: int) -> bytes:
    """Return one of the bodies that are small only as long as they are packed."""
    return gzip.compress(BOMBS[number]())


def clean(random: random.Random, models: list[Model]) -> tuple[str, str, bytes]:
    """Return protocol, place and body of a clean request."""
    model = random.choice(models)
    if model.writes and random.random() < 0.4:
        body = {"model": model.name, "prompt": "It was", "max_tokens": 3}
        return "OpenAI", "/v1/completions", json.dumps(body).encode()
    if model.default == START:
        return "REST", f"/v1/models/{model.name}:stream", b'{"inputs":{"prompt":["It was"]}}'
    arrays = model.arrays(model.default)
    columns = {name: plain(array) for name, array in arrays.items()}
    if random.random() < 0.5:
        body = {"inputs": columns, "signature_name": model.default}
        return "REST", f"/v1/models/{model.name}:predict", json.dumps(body).encode()
    tensors = [
        {"name": name, "shape": list(array.shape), "datatype": "BYTES" if array.dtype == object else "FP32"}
        | {"data": columns[name]}
        for name, array in arrays.items()
    ]
    return "OIP HTTP", f"/v2/models/{model.name}/infer", json.dumps({"inputs": tensors}).encode()


def _post(place: str, body: str | bytes, *headers: str, kind: str = "application/json") -> list[Step]:
    return _request("POST", place, body, *headers, f"Content-Type: {kind}")


def _request(method: str, place: str, body: str | bytes = b"", *headers: str) -> list[Step]:
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    lines = [f"{method} {place} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines += [f"Content-Length: {len(body)}"] if body or method != "GET" else []
    return ["\r\n".join([*lines, "", ""]).encode("latin-1") + body]
