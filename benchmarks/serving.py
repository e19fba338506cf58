"""Measure answers a second and their times: the model server, a bare loop, and servers that others wrote.

    python benchmarks/serving.py --exports exports --bento-python PYTHON --mlserver-python PYTHON

Every request has one example. Each server is a process of its own; h2load (Debian's nghttp2-client), which is written
in C and takes little of the cores that it shares with the server, keeps one request under way on each connection.
BentoML (1.4.39) and MLServer (1.7.1, which needs uvloop<0.22 and fastapi<0.116) want environments of their own with
TensorFlow 2.21; without one of them its rows are left out. With all of them it takes about 22 minutes, 14 with
`--seconds 4`.
`--only` and `--seconds` make a quick try; with `--only` no results are written.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from measured import CONFIGS, RESULTS, add_line, free_ports, how
from serving_requests import Request, arrays, request_of

ROOT = CONFIGS.parent
PEERS = Path(__file__).parent / "peers"
MODELS = ("house_prices", "cat_classifier", "entity_tagger")
CLIENTS = (1, 8, 32, 128)
COMPARED = 32  # clients of the summary
OK = 200
WARM_SECONDS = 1
START_SECONDS, END_SECONDS = 120, 20
LOOP = "bare loop, one at a time"
MAKERS = {"ours": "this server", "ray": "Ray Serve", "bento": "BentoML", "mlserver": "MLServer"}


@dataclass(frozen=True)
class Way:
    """One server with one protocol."""

    server: str
    protocol: str
    batching: bool = True

    @property
    def name(self) -> str:
        """Name it as in the table."""
        return f"{MAKERS[self.server]}, {self.protocol}, {'batching' if self.batching else 'no batching'}"


WAYS = [
    *(Way("ours", protocol, batching) for batching in (True, False) for protocol in ("REST", "v2 binary", "gRPC")),
    Way("ray", "REST"),
    Way("bento", "REST"),
    Way("mlserver", "v2 JSON"),
]


@click.command()
@click.option("--exports", required=True, type=Path, help="Folder with the exports of the three tasks.")
@click.option("--seconds", default=8, show_default=True, help="For each figure.")
@click.option("--bento-python", help="A Python with bentoml and tensorflow; without it BentoML is left out.")
@click.option("--mlserver-python", help="The same for mlserver.")
@click.option("--only", default="", help="Words that a figure's name has to hold: 'house_prices|Ray|32 clients'.")
@click.option("--loop", default="", hidden=True)
def main(
    exports: Path, seconds: int, bento_python: str | None, mlserver_python: str | None, only: str, loop: str
) -> None:
    """Measure all and write the table."""
    if loop:
        click.echo(json.dumps(bare_loop(exports / loop, seconds)))
        return
    if not only:
        (RESULTS / "serving.jsonl").unlink(missing_ok=True)
    pythons = {"ours": sys.executable, "ray": sys.executable, "bento": bento_python, "mlserver": mlserver_python}
    lines = []
    for model in MODELS:
        for line in figures(exports / model, seconds, pythons, only):
            lines.append(line)
            click.echo(json.dumps(line), err=True)
            if not only:
                add_line(RESULTS / "serving.jsonl", line)
    text = table(lines, seconds, [python for python in (bento_python, mlserver_python) if python])
    click.echo(text)
    if not only:
        (RESULTS / "serving.md").write_text(text)


def figures(export: Path, seconds: int, pythons: dict[str, str | None], only: str) -> Iterator[dict]:
    """Measure a model in each way, with each number of clients."""

    def wanted(way: str, clients: int) -> bool:
        return all(word in f"{export.name}, {way}, {clients} clients" for word in only.split("|"))

    if wanted(LOOP, 1):
        command = [sys.executable, __file__, "--exports", export.parent, "--seconds", seconds, "--loop", export.name]
        done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        yield {"model": export.name, "way": LOOP, "clients": 1, **json.loads(done.stdout.splitlines()[-1])}
    for way in WAYS:
        asked = [clients for clients in CLIENTS if wanted(way.name, clients)]
        if pythons[way.server] and asked:
            request = request_of(export, way.server, way.protocol)
            with running(way, export, pythons[way.server]) as port:
                for clients in asked:
                    found = load(way, request, port, clients, seconds)
                    yield {"model": export.name, "way": way.name, "clients": clients, **found}


@contextlib.contextmanager
def running(way: Way, export: Path, python: str) -> Iterator[int]:
    """Run a server for as long as it is measured; peers have one replica, since TensorFlow uses all cores by itself."""
    port, grpc_port, figures_port = free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        command = {
            "ours": [python, "cli.py", "serve", export, "--port", port, "--grpc-port", grpc_port],
            "ray": [python, PEERS / "ray_model.py"],
            "bento": [python, "-m", "bentoml", "serve", "bento_model:Model", "--port", port, "--working-dir", PEERS],
            "mlserver": [python, PEERS / "mlserver_model.py", folder, grpc_port, figures_port],
        }[way.server]
        if not way.batching:
            command += ["--max-batch-size", 1]
        given = {
            "EXPORT": str(export.resolve()),
            "PORT": str(port),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "BENTOML_HOME": folder,
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        server = subprocess.Popen([*map(str, command)], cwd=ROOT, env={**os.environ, **given}, **quiet)
        try:
            wait_until_ready(way, export, port, server)
            yield grpc_port if way.protocol == "gRPC" else port
        finally:
            end(server)


def end(server: subprocess.Popen) -> None:
    """End a server with all its processes, so that none of them is there beside the next one."""
    deadline = time.monotonic() + END_SECONDS
    with contextlib.suppress(ProcessLookupError):  # the group is gone
        os.killpg(server.pid, signal.SIGTERM)
        while True:
            server.poll()
            os.killpg(server.pid, signal.SIGKILL if time.monotonic() > deadline else 0)
            time.sleep(0.1)


def wait_until_ready(way: Way, export: Path, port: int, server: subprocess.Popen) -> None:
    """Wait until a first request over HTTP is answered."""
    deadline = time.monotonic() + START_SECONDS
    asked = request_of(export, way.server, "v2 JSON" if way.server == "mlserver" else "REST")
    request = urllib.request.Request(f"http://127.0.0.1:{port}{asked.place}", asked.body, asked.headers)
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(request, timeout=START_SECONDS).read()
        except OSError as error:
            refusal = error
            time.sleep(0.3)
        else:
            return
    sys.exit(f"{way.name} does not answer {export.name}: {refusal}")


def load(way: Way, request: Request, port: int, clients: int, seconds: int) -> dict:
    """Keep as many requests under way as there are clients; give answers a second and milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        body, times = Path(folder) / "body", Path(folder) / "times"
        body.write_bytes(request.body)
        command = ["h2load", "--threads=1", "--max-concurrent-streams=1", f"--clients={clients}", f"--data={body}"]
        command += [f"--duration={seconds}", f"--warm-up-time={WARM_SECONDS}", f"--log-file={times}"]
        command += [f"--header={name}: {value}" for name, value in request.headers.items()]
        command += [] if way.protocol == "gRPC" else ["--h1"]
        url = f"http://127.0.0.1:{port}{request.place}"
        done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
        rows = np.array([line.split() for line in times.read_text().splitlines()], "int64")
    answered = rows[rows[:, 1] == OK] if len(rows) else rows
    if len(answered) == 0:
        sys.exit(f"{way.name}: no request was answered:\n{done.stdout}")
    return {**summary(answered[:, 2] / 1000, seconds), "refused": len(rows) - len(answered)}


def summary(milliseconds: np.ndarray, seconds: float) -> dict:
    """Give answers a second and percentiles of their times."""
    percentiles = {f"p{p}": round(float(np.percentile(milliseconds, p)), 2) for p in (50, 95, 99)}
    return {"rate": round(len(milliseconds) / seconds, 1), **percentiles}


def bare_loop(export: Path, seconds: int) -> dict:
    """Call the SavedModel in this process, one example a call."""
    import tensorflow as tf

    sys.path.insert(0, str(PEERS))
    from saved_model import SavedModel

    model, inputs, spent = SavedModel(str(export)), arrays(export), []
    began = now = time.perf_counter()
    while now - began < WARM_SECONDS + seconds:
        outputs = model.function(**{name: tf.constant(array) for name, array in inputs.items()})
        for tensor in outputs.values():
            tensor.numpy()
        before, now = now, time.perf_counter()
        if before - began >= WARM_SECONDS:
            spent.append(now - before)
    return summary(1000 * np.array(spent), seconds)


def table(lines: list[dict], seconds: int, pythons: list[str]) -> str:
    """Write the figures, and how they were obtained."""
    text = ["# Answers a second, and how long they take", ""]
    for model in dict.fromkeys(line["model"] for line in lines):
        own = [line for line in lines if line["model"] == model]
        text += [
            f"## {model}",
            "",
            *compared(own),
            "| server | clients | answers a second | p50 ms | p95 ms | p99 ms | refused |",
        ]
        text.append("|---|---|---|---|---|---|---|")
        for line in own:
            times = " | ".join(f"{line[name]:,.2f}" for name in ("p50", "p95", "p99"))
            text.append(
                f"| {line['way']} | {line['clients']} | {line['rate']:,.0f} | {times} | {line.get('refused', 0)} |"
            )
        text.append("")
    command = "python benchmarks/serving.py --exports exports --bento-python PYTHON --mlserver-python PYTHON"
    said = f"{seconds} seconds each after {WARM_SECONDS} of warm-up; one example a request; refusals are no answers"
    client = "Client (h2load, one thread) and server share one machine; every server runs one process with the model"
    packages = ("tensorflow", "fastapi", "uvicorn", "grpcio", "ray")
    peers = "Peers with their own batching, at most 64 together: " + ", ".join(
        ["Ray Serve", *map(peer_version, pythons)]
    )
    return "\n".join([*text, *how(command, packages, said, client, peers)]) + "\n"


def peer_version(python: str) -> str:
    """Name the package that a Python has of the peers."""
    code = "import importlib.metadata as m; print(next(f'{n} {m.version(n)}' for n in ('bentoml', 'mlserver')" + (
        " if any(d.name == n for d in m.distributions())))"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def compared(lines: list[dict]) -> list[str]:
    """Say in words how the server fares beside the best peer and the bare loop."""
    at = {line["way"]: line for line in lines if line["clients"] == COMPARED}
    peers = [line for way, line in at.items() if not way.startswith(MAKERS["ours"])]
    own, loop = at.get(Way("ours", "REST").name), next((line for line in lines if line["way"] == LOOP), None)
    if not peers or own is None or loop is None:
        return []
    best = max(peers, key=lambda line: line["rate"])
    name, times, beyond = best["way"].split(",")[0], own["rate"] / best["rate"], own["rate"] / loop["rate"]
    tails = f"{own['p99']:.1f} ms beside {best['p99']:.1f} ms"
    return [
        f"With {COMPARED} clients and batching, REST answers {times:.2f} times as often as the best peer, {name},"
        f" with a p99 of {tails}, and {beyond:.2f} times as often as the bare loop.",
        "",
    ]


if __name__ == "__main__":
    main()
