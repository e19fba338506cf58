"""A server as a process of its own, and clients that wait no longer than they should."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_SECONDS = 300  # on a busy machine
CLI = ("cli.py", "serve", "--poll-seconds", "0.2", "--drain-seconds", "0.3")


class Server:
    """`pipelines serve` on ports that were free."""

    def __init__(
        self,
        log: Path,
        *arguments: object,
        scheme: str = "http",
        host: str = "127.0.0.1",
        command: Sequence[str] = CLI,
        **environment: str,
    ):
        self.port, self.grpc_port = free_port(), free_port()
        self.url = f"{scheme}://{host}:{self.port}"
        self.log = log
        whole = [sys.executable, *command, *map(str, arguments)]
        whole += ["--port", str(self.port), "--grpc-port", str(self.grpc_port)]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                whole, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **environment}
            )
        self.wait()

    def wait(self) -> None:
        """Wait until every model is ready."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/ready", verify=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready in time: {self.log.read_text()}")

    def post(self, path: str, body: object, **options) -> httpx.Response:
        """Send JSON."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=60, **options)

    def get(self, path: str, **options) -> httpx.Response:
        """Ask for a page."""
        return httpx.get(f"{self.url}{path}", timeout=60, **options)

    def memory(self) -> int:
        """Give the bytes that the process holds."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def stop(self) -> int:
        """End it as a system does that shuts down; give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def until(true, seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.05)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
