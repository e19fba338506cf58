"""A client that keeps a request under way on each connection, and notes whatever is not answered as it should."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Load:
    """Requests from another thread, until told to stop or until the server is gone."""

    def __init__(self, port: int, requests: list[bytes], grpc_port: int = 0, messages: list[bytes] = ()):
        self.port, self.grpc_port = port, grpc_port
        self.answers: Counter[bytes] = Counter()  # of statuses, or gRPC messages
        self.failures: list[str] = []
        self.stopped = False
        self._done: Future = ThreadPoolExecutor(1).submit(lambda: asyncio.run(self._ask_all(requests, messages)))

    def stop(self) -> None:
        """Wait for the last answers."""
        self.stopped = True
        self._done.result(60)

    async def _ask_all(self, requests: list[bytes], messages: list[bytes]) -> None:
        await asyncio.gather(*map(self._ask, requests), *map(self._call, messages))

    async def _ask(self, request: bytes) -> None:
        while not self.stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                return  # the server has gone, and was asked for nothing
            try:
                while not self.stopped and await self._answered(reader, writer, request):
                    pass
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(repr(error))
                return
            finally:
                writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
        """Ask once; say whether the connection stays open."""
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        (length,) = (line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        body = await reader.readexactly(int(length))
        status = head.split()[1]
        self.answers[status] += 1
        if status != b"200":
            self.failures.append(f"{status.decode()} {body.decode()}")
        return b"\r\nconnection: close" not in head

    async def _call(self, message: bytes) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            call = channel.unary_unary(PREDICT)
            while not self.stopped:
                try:
                    await call(message, timeout=30)
                    self.answers[b"grpc"] += 1
                except grpc.aio.AioRpcError as error:
                    self.failures.append(str(error.details()))


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Write a whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def until_answered(load: Load, count: int, until: Callable) -> None:
    """Wait for so many more answers."""
    wanted = load.answers.total() + count
    until(lambda: load.answers.total() >= wanted or load.failures)
