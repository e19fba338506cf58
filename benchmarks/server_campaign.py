"""Attack a started server with hostile requests over all protocols, or use it for long while its models are renewed.

    python benchmarks/server_campaign.py --exports exports
    python benchmarks/server_campaign.py --exports exports --number 4711      # one request again, with its answer
    python benchmarks/server_campaign.py --exports exports --soak 60          # minutes

Each request follows from the seed and its number. Beside them, clean requests over the same protocols are asked again
and again, and each answer compared with the one that the idle server gave; a process of its own asks `/live`. The
script ends with exit code 1 if a request got a 5xx but 503 or no answer, if a clean one was answered wrongly, if
`/live` took too long, or if the memory of the server exceeded the bound.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import campaign_connections
import campaign_grpc
import campaign_http
import click
import grpc
import httpx
from campaign_clean import Checker, Model, clean_requests, read_models
from campaign_clients import answers, is_fault
from campaign_page import Found, page, page_of_soak
from measured import CONFIGS, RESULTS, free_ports

ROOT = CONFIGS.parent
GENERATORS: dict[Callable, int] = {  # with how often each is drawn
    campaign_http.rest: 14,
    campaign_http.images: 8,
    campaign_http.open_inference: 10,
    campaign_http.openai: 9,
    campaign_http.playground: 8,
    campaign_http.damaged: 6,
    campaign_http.encoded: 6,
    campaign_connections.places: 5,
    campaign_connections.headers: 4,
    campaign_connections.lengths: 4,
    campaign_connections.chunks: 4,
    campaign_connections.slow: 2,
    campaign_connections.broken: 5,
    campaign_grpc.tensors: 7,
    campaign_grpc.specifications: 3,
    campaign_grpc.other_methods: 4,
    campaign_grpc.open_tensors: 6,
    campaign_grpc.open_methods: 2,
    campaign_grpc.damaged: 6,
    campaign_grpc.calls: 4,
    campaign_grpc.no_http2: 2,
}
READ_SECONDS = 3  # of the server, for headers and for bodies
WAIT_SECONDS = 120.0  # for an answer
HOSTILE, CLEAN = 24, 4  # requests at a time
COMMAND = "python benchmarks/server_campaign.py --exports exports"
HOW = (
    f"{HOSTILE} hostile and {CLEAN} clean requests at a time; the server reads headers and bodies for at most"
    f" {READ_SECONDS} s; client and server share the machine"
)
SAMPLE_SECONDS = 5.0
TOLD_EVERY = 500
START_SECONDS = 600
Hostile = campaign_http.Attack | campaign_grpc.Call | campaign_grpc.Bytes


@click.command()
@click.option("--exports", required=True, type=Path, help="Folder with exports, such as those of the five tasks.")
@click.option("--requests", default=10_000, show_default=True, help="Number of hostile requests.")
@click.option("--seed", default=0, show_default=True)
@click.option("--number", type=int, help="Send only the request of this number, and tell its answer.")
@click.option("--soak", type=float, help="Send only clean requests, for so many minutes, while versions are renewed.")
@click.option("--reload-seconds", default=30.0, show_default=True, help="How often a soak writes a new version.")
@click.option("--most-mib", default=4096, show_default=True, help="Bound on the memory of the server.")
@click.option("--live-seconds", default=1.0, show_default=True, help="Bound on the time of an answer of /live.")
@click.option("--log", type=Path, help="Where to keep the log of the server.")
@click.option("--about", default="", help="What the page says of the models.")
@click.option("--results", default=RESULTS, show_default=False, type=Path, help="Folder for the page.")
def main(
    exports: Path,
    requests: int,
    seed: int,
    number: int | None,
    soak: float | None,
    reload_seconds: float,
    most_mib: int,
    live_seconds: float,
    log: Path | None,
    about: str,
    results: Path,
) -> None:
    """Run a campaign or a soak, and write what was found."""
    numbers = range(requests) if number is None else range(number, number + 1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models = copied(exports, work / "models")
        log = log or work / "log.jsonl"
        with running(models, log) as server:
            if soak:
                found, checker = asyncio.run(soaked(server, models, 60 * soak, reload_seconds))
            else:
                found, checker = asyncio.run(attacked(server, seed, numbers))
        found.faults += internal_errors(log)
    found.models.append(about)
    found.faults += [f"clean, {name}: {wrong}" for name, tally in checker.tallies.items() for wrong in tally.wrong]
    if max(found.live) >= live_seconds:
        found.faults.append(f"/live took {max(found.live):.2f} s")
    if found.peak > most_mib << 20:
        found.faults.append(f"{found.peak >> 20:,} MiB of memory")
    if number is not None:
        click.echo("\n".join(map(" | ".join, found.counts)))
    else:
        text = (
            page_of_soak(found, checker, soak, reload_seconds, f"{COMMAND} --soak {soak:g}", HOW)
            if soak
            else page(found, checker, most_mib, f"{COMMAND} --seed {seed}", HOW)
        )
        (results / f"server_{'soak' if soak else 'campaign'}.md").write_text(text)
        click.echo(text)
    for fault in found.faults:
        click.echo(fault, err=True)
    sys.exit(bool(found.faults))


def copied(exports: Path, to: Path) -> list[Path]:
    """Copy the newest version of each export, since a soak adds versions."""
    folders = []
    for export in sorted(path for path in exports.iterdir() if path.is_dir()):
        versions = [path for path in export.iterdir() if path.name.isdigit()]
        if versions:
            shutil.copytree(max(versions, key=lambda path: int(path.name)), to / export.name / "1")
            folders.append(to / export.name)
    return folders


@dataclass(frozen=True)
class Server:
    """A started server."""

    process: subprocess.Popen
    port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self, name: str = "VmRSS") -> int:
        """Return the bytes that it holds, or held at most (`VmHWM`)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


@contextlib.contextmanager
def running(models: list[Path], log: Path):
    """Start a server, wait until its models are loaded, and end it.

    Raises:
        RuntimeError: If it does not start, or ends with an error.
    """
    port, grpc_port = free_ports(2)
    command = [sys.executable, "cli.py", "serve", *map(str, models), "--port", str(port), "--grpc-port", str(grpc_port)]
    command += ["--read-seconds", str(READ_SECONDS), "--poll-seconds", "1", "--drain-seconds", "0.5"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    server = Server(process, port, grpc_port)
    try:
        due = time.monotonic() + START_SECONDS
        while not _is_ready(server):
            if process.poll() is not None or time.monotonic() > due:
                raise RuntimeError(f"the server does not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}: {log.read_text()[-2000:]}")
        process.send_signal(signal.SIGTERM)
        if process.wait(120):
            raise RuntimeError(f"the server ended with code {process.returncode}: {log.read_text()[-2000:]}")


def _is_ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextlib.asynccontextmanager
async def watched(server: Server, found: Found, checker_pause: float) -> AsyncIterator[tuple[Checker, list[Model]]]:
    """Ask clean requests and `/live`, and note the memory, for as long as the context lasts."""
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(base_url=server.url, limits=limits, timeout=WAIT_SECONDS) as web,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        models = await read_models(web)
        found.models = [model.name for model in models]
        checker = Checker(clean_requests(models, web, channel))
        await checker.begin()
        probe = [sys.executable, Path(__file__).with_name("campaign_probe.py"), str(server.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        probing = await asyncio.create_subprocess_exec(*probe, **pipes)
        probed = asyncio.create_task(probing.stdout.read())
        count = len(checker.requests)
        asking = [asyncio.create_task(checker.go_on(count * one // CLEAN, checker_pause)) for one in range(CLEAN)]
        sampling = asyncio.create_task(_sample(server, found, began))
        try:
            yield checker, models
        finally:
            checker.done = True
            await asyncio.gather(*asking)
            sampling.cancel()
            probing.stdin.close()
            printed = await probed
            found.live = list(map(float, printed.split()))
            found.peak, found.seconds = server.memory("VmHWM"), time.monotonic() - began


async def _sample(server: Server, found: Found, began: float) -> None:
    while True:
        found.memory.append((time.monotonic() - began, server.memory()))
        await asyncio.sleep(SAMPLE_SECONDS)


async def attacked(server: Server, seed: int, numbers: range) -> tuple[Found, Checker]:
    """Send the hostile requests, some at a time."""
    found = Found()
    async with watched(server, found, 0.2) as (checker, models):
        left = iter(numbers)
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{server.grpc_port}", [("grpc.max_send_message_length", -1)]
        ) as channel:

            async def send() -> None:
                for number in left:
                    attack = made(seed, number, models)
                    for answer in await answers(attack, server.port, server.grpc_port, channel, WAIT_SECONDS):
                        found.counts[attack.protocol, attack.kind, answer] += 1
                        if is_fault(attack, answer):
                            found.faults.append(f"{number}: {attack.protocol}, {attack.kind}: {answer}")
                            click.echo(found.faults[-1], err=True)
                    if number % TOLD_EVERY == 0:
                        click.echo(f"{number:,} requests", err=True)

            await asyncio.gather(*(send() for _ in range(HOSTILE)))
    return found, checker


def made(seed: int, number: int, models: list[Model]) -> Hostile:
    """Make the hostile request of a number."""
    drawn = random.Random(f"{seed} {number}")
    (generator,) = drawn.choices(list(GENERATORS), list(GENERATORS.values()))
    return generator(drawn, models)


async def soaked(server: Server, folders: list[Path], seconds: float, reload_seconds: float) -> tuple[Found, Checker]:
    """Ask only clean requests, while a new version of one model after the other is written."""
    found = Found()
    async with watched(server, found, 0.02) as (checker, _):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(min(reload_seconds, max(0.0, end - time.monotonic())))
            folder = folders[found.reloads % len(folders)]
            await asyncio.to_thread(_renew, folder)
            found.reloads += 1
    return found, checker


def _renew(folder: Path) -> None:
    """Write the newest version again under the next number, and delete the one before."""
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    whole = folder / ".next"
    shutil.copytree(folder / str(numbers[-1]), whole)
    whole.rename(folder / str(numbers[-1] + 1))
    for number in numbers[:-1]:
        shutil.rmtree(folder / str(number))


def internal_errors(log: Path) -> list[str]:
    """Return the lines of the log that tell a fault of the server."""
    lines = log.read_text(errors="replace").splitlines()
    return [f"log: {line[:1500]}" for line in lines if '"level":"critical"' in line or "Traceback" in line]


if __name__ == "__main__":
    main()
