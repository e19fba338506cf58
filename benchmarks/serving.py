"""Measure requests a second and latency of the model server, beside a bare loop and servers that others wrote.

    python benchmarks/serving.py --exports exports --bento-python PYTHON_WITH_bentoml

Every request has one example. A server runs as a process of its own, and so does the client, which keeps one request
under way on each of its connections. Each is warmed up before it is timed. `--only` and `--seconds` make a quick try.
"""

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from measured import CONFIGS, RESULTS, how

ROOT = CONFIGS.parent
PEERS = Path(__file__).parent / "peers"
MODELS = ("house_prices", "cat_classifier", "entity_tagger")
CLIENTS = (1, 8, 32, 128)
WARM_SECONDS = 2.0
START_SECONDS = 120
SENTENCE = "Ann Lee flew from Oslo to New York last Monday, where she met Bob Miller."
MAKERS = {"ours": "this server", "ray": "Ray Serve", "bento": "BentoML", "loop": "bare loop, one at a time"}


@dataclass(frozen=True)
class Timed:
    """What a client saw."""

    rate: float  # answers a second
    milliseconds: dict[str, float]  # p50, p95, p99


@dataclass(frozen=True)
class Way:
    """One server with one protocol."""

    server: str
    protocol: str
    batching: bool

    @property
    def name(self) -> str:
        """Name it as in the table."""
        return f"{MAKERS[self.server]}, {self.protocol}, {'batching' if self.batching else 'no batching'}"


WAYS = [
    *(Way("ours", protocol, batching) for batching in (True, False) for protocol in ("REST", "v2 binary", "gRPC")),
    Way("ray", "REST", True),
    Way("bento", "REST", True),
]


@click.command()
@click.option("--exports", required=True, type=Path, help="Folder with the exports of the three tasks.")
@click.option("--seconds", default=10.0, show_default=True, help="For each figure.")
@click.option("--bento-python", help="A Python with bentoml and tensorflow; without it BentoML is left out.")
@click.option("--only", default="", help="A part of the names of models, ways or numbers of clients to measure.")
@click.option("--child", default="", hidden=True)
def main(exports: Path, seconds: float, bento_python: str | None, only: str, child: str) -> None:
    """Measure all and write the table."""
    if child:
        model, way, clients, port = json.loads(child)
        click.echo(json.dumps(measure(exports / model, WAYS[way], clients, port, seconds)))
        return
    figures: dict[tuple[str, str, int], Timed] = {}
    for model in MODELS:
        if only in f"{model} {MAKERS['loop']} 1":
            figures[model, MAKERS["loop"], 1] = bare_loop(exports / model, seconds)
        for number, way in enumerate(WAYS):
            if way.server == "bento" and not bento_python:
                continue
            wanted = [clients for clients in CLIENTS if only in f"{model} {way.name} {clients}"]
            if wanted:
                with_server(exports, model, number, wanted, seconds, bento_python, figures)
    text = table(figures, seconds)
    click.echo(text)
    if not only:
        (RESULTS / "serving.md").write_text(text)


def with_server(
    exports: Path, model: str, number: int, wanted: list[int], seconds: float, bento: str | None, figures: dict
) -> None:
    """Start a server and measure it with each number of clients, each a process of its own."""
    way, port = WAYS[number], free_port()
    grpc_port = free_port()
    server = start(way, exports / model, port, grpc_port, bento)
    try:
        wait_until_ready(exports / model, way, port, server)
        for clients in wanted:
            asked = json.dumps([model, number, clients, grpc_port if way.protocol == "gRPC" else port])
            command = [sys.executable, __file__, "--exports", exports, "--seconds", seconds, "--child", asked]
            done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            figures[model, way.name, clients] = Timed(*json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{model}, {way.name}, {clients} clients: {figures[model, way.name, clients]}", err=True)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def start(way: Way, export: Path, port: int, grpc_port: int, bento: str | None) -> subprocess.Popen:
    """Start a server; the peers with one replica, since TensorFlow uses all cores by itself."""
    command = {
        "ours": [sys.executable, "cli.py", "serve", export, "--port", port, "--grpc-port", grpc_port],
        "ray": [sys.executable, PEERS / "ray_model.py"],
        "bento": [bento, "-m", "bentoml", "serve", "bento_model:Model", "--port", port, "--working-dir", PEERS],
    }[way.server]
    if not way.batching:
        command += ["--max-batch-size", 1]
    given = {"EXPORT": str(export.resolve()), "PORT": str(port), "TF_CPP_MIN_LOG_LEVEL": "3"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen([*map(str, command)], cwd=ROOT, env={**os.environ, **given}, **quiet)


def wait_until_ready(export: Path, way: Way, port: int, server: subprocess.Popen) -> None:
    """Wait until a first request is answered."""
    deadline = time.monotonic() + START_SECONDS
    request = http_request(export, Way(way.server, "REST", way.batching), port)
    while time.monotonic() < deadline and server.poll() is None:
        try:
            asyncio.run(one_answer(port, request))
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            time.sleep(0.3)
        else:
            return
    sys.exit(f"{way.name} does not answer")


async def one_answer(port: int, request: bytes) -> None:
    """Ask once.

    Raises:
        RuntimeError: where the answer is a refusal.
    """
    ask = await http_connection(port, request)
    await ask()


def measure(export: Path, way: Way, clients: int, port: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Keep `clients` requests under way, first untimed, then timed."""
    return asyncio.run(_measure(export, way, clients, port, seconds))


async def _measure(export: Path, way: Way, clients: int, port: int, seconds: float) -> tuple[float, dict[str, float]]:
    if way.protocol == "gRPC":
        ask_each = await grpc_connections(export, clients, port)
    else:
        request = http_request(export, way, port)
        ask_each = [await http_connection(port, request) for _ in range(clients)]
    await asyncio.gather(*(keep_asking(ask, WARM_SECONDS) for ask in ask_each))
    began = time.perf_counter()
    spent = await asyncio.gather(*(keep_asking(ask, seconds) for ask in ask_each))
    whole = time.perf_counter() - began
    times = 1000 * np.concatenate(spent)
    return len(times) / whole, {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95, 99)}


async def keep_asking(ask: Callable, seconds: float) -> list[float]:
    """Ask again and again; give the time of each answer."""
    spent, now = [], time.perf_counter()
    end = now + seconds
    while now < end:
        await ask()
        spent.append(time.perf_counter() - now)
        now = time.perf_counter()
    return spent


async def http_connection(port: int, request: bytes) -> Callable:
    """Open a connection that stays; a client as light as can be, so that it is not what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask() -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(head.decode())
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths:
            await reader.readexactly(int(lengths[0].split(b":")[1]))
        else:  # in chunks, the last of which is empty
            await reader.readuntil(b"\r\n0\r\n\r\n")

    return ask


async def grpc_connections(export: Path, clients: int, port: int) -> list[Callable]:
    """Open channels, with requests that are serialized already and answers that stay so."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = export.name
    for name, array in arrays(export).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    content, asked = request.SerializeToString(), []
    for number in range(clients):
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", number)])
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        asked.append(lambda call=call: call(content))
    return asked


def http_request(export: Path, way: Way, port: int) -> bytes:
    """Write a whole request of one example."""
    place, more = "/predict", ""
    if way.protocol == "v2 binary":
        place, (head, body) = f"/v2/models/{export.name}/infer", binary(export)
        more, body = f"Inference-Header-Content-Length: {len(head)}\r\n", head + body
    else:
        body = json.dumps({"instances": [instance(export)]}).encode()
        if way.server == "ours":
            place = f"/v1/models/{export.name}:predict"
    start = f"POST {place} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{more}"
    return f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body


def binary(export: Path) -> tuple[bytes, bytes]:
    """Write an example as the Open Inference Protocol's JSON, and the bytes behind it."""
    tensors, parts = [], []
    for name, array in arrays(export).items():
        text = array.dtype == object
        content = b"".join(len(t).to_bytes(4, "little") + t for t in array) if text else array.tobytes()
        size = {"binary_data_size": len(content)}
        tensors.append({"name": name, "shape": [1], "datatype": "BYTES" if text else "FP32", "parameters": size})
        parts.append(content)
    return json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode(), b"".join(parts)


def instance(export: Path) -> dict:
    """Make an example as JSON has it."""
    plain = {}
    for name, array in arrays(export).items():
        value = array[0]
        if not isinstance(value, bytes):
            plain[name] = float(value)
        elif name == "image":
            plain[name] = {"b64": base64.b64encode(value).decode()}
        else:
            plain[name] = value.decode()
    return plain


def arrays(export: Path) -> dict[str, np.ndarray]:
    """Make one example that fits a signature: a picture, a sentence, or the columns of a table."""
    from tensorflow.core.protobuf import saved_model_pb2

    newest = max((path for path in export.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    graph = saved_model_pb2.SavedModel.FromString((newest / "saved_model.pb").read_bytes()).meta_graphs[0]
    inputs = graph.signature_def["serving_default"].inputs
    texts = {"image": _picture(), "text": SENTENCE.encode()}
    of_string = 7  # DT_STRING
    return {
        name: np.array([texts.get(name, b"Normal")], object) if info.dtype == of_string else np.float32([100])
        for name, info in sorted(inputs.items())
    }


def _picture() -> bytes:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, [64, 64, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(noise).resize([128, 128]).save(buffer, "JPEG")
    return buffer.getvalue()


def bare_loop(export: Path, seconds: float) -> Timed:
    """Call the SavedModel in this process, one example a call."""
    import tensorflow as tf

    sys.path.insert(0, str(PEERS))
    from saved_model import SavedModel

    model = SavedModel(str(export))
    inputs = arrays(export)

    async def ask() -> None:
        outputs = model.function(**{name: tf.constant(array) for name, array in inputs.items()})
        for tensor in outputs.values():
            tensor.numpy()

    asyncio.run(keep_asking(ask, WARM_SECONDS))
    times = 1000 * np.array(asyncio.run(keep_asking(ask, seconds)))
    return Timed(len(times) / seconds, {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95, 99)})


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def table(figures: dict[tuple[str, str, int], Timed], seconds: float) -> str:
    """Write the figures, and how they were obtained."""
    lines = ["# Requests a second, and how long they take", ""]
    for model in dict.fromkeys(key[0] for key in figures):
        lines += [f"## {model}", "", "| server | clients | answers a second | p50 ms | p95 ms | p99 ms |"]
        lines.append("|---|---|---|---|---|---|")
        for (of, way, clients), timed in figures.items():
            if of == model:
                times = " | ".join(f"{value:,.2f}" for value in timed.milliseconds.values())
                lines.append(f"| {way} | {clients} | {timed.rate:,.0f} | {times} |")
        lines.append("")
    command = "python benchmarks/serving.py --exports exports --bento-python PYTHON"
    packages = ("tensorflow", "fastapi", "uvicorn", "grpcio", "ray")
    said = f"{seconds:g} seconds each after {WARM_SECONDS:g} of warm-up; one example a request"
    return "\n".join([*lines, *how(command, packages, said, "Client and server on one machine")]) + "\n"


if __name__ == "__main__":
    main()
