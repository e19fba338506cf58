"""Clients that send hostile requests as they are, and tell what came back."""

import asyncio
import contextlib
import re
import socket
import struct

import grpc
from campaign_grpc import LONG, STREAM, Bytes, Call
from campaign_http import HALF_CLOSE, LEAVE, Attack, Step

STATUS = re.compile(rb"(?:^|\n|[}\]])HTTP/1\.1 (\d{3}) ")  # of each response on a connection
CLOSED, LEFT, OPEN, SILENT = "closed", "left", "kept open", "no answer"
NOT_ALLOWED = {"UNKNOWN", "INTERNAL", "DATA_LOSS"}  # of a server that failed, not of a request that is wrong
READ_BYTES = 1 << 16


async def answers(
    attack: Attack | Call | Bytes, port: int, grpc_port: int, channel: grpc.aio.Channel, most: float
) -> list[str]:
    """Send a request and return the codes of its answers, or how it ended without; wait `most` seconds."""
    if isinstance(attack, Call):
        return [await _called(attack, channel)]
    if isinstance(attack, Bytes):
        ended = await _exchange(grpc_port, attack.steps, 1.0)  # a client of HTTP/2 may be silent
        return [OPEN if ended == [SILENT] else ended[-1]]
    return await _exchange(port, attack.steps, most)


def is_fault(attack: Attack | Call | Bytes, answer: str) -> bool:
    """Return whether an answer is one that no request may get: a 5xx but 503, or none."""
    if isinstance(attack, Bytes):
        return False
    return answer in NOT_ALLOWED or answer == SILENT or (answer.startswith("5") and answer != "503")


async def _exchange(port: int, steps: list[Step], most: float) -> list[str]:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=READ_BYTES)
    except OSError as error:
        return [type(error).__name__]
    data = bytearray()
    reading = asyncio.create_task(_read(reader, data))
    try:
        with contextlib.suppress(OSError):
            for step in steps:
                if isinstance(step, bytes):
                    writer.write(step)
                    await asyncio.wait_for(writer.drain(), most)
                elif isinstance(step, float):
                    await asyncio.sleep(step)
                elif step == HALF_CLOSE:
                    writer.write_eof()
                elif step == LEAVE:
                    _reset(writer)
                    return [LEFT]
        await asyncio.wait([reading], timeout=most)
        ended = reading.done()
    except TimeoutError:  # the server reads no more
        ended = False
    finally:
        reading.cancel()
        writer.transport.abort()
    codes = [code.decode() for code in STATUS.findall(data) if code != b"100"]
    return codes or [CLOSED if ended else SILENT]


async def _read(reader: asyncio.StreamReader, data: bytearray) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(READ_BYTES):
            data += part


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without the end that TCP has for it."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _called(call: Call, channel: grpc.aio.Channel) -> str:
    options = {"timeout": call.seconds, "metadata": call.metadata, "compression": call.compression}
    try:
        if call.method == STREAM:
            async for _ in channel.stream_stream(call.method)(iter([call.content] * call.repeated), **options):
                pass
        else:
            await channel.unary_unary(call.method)(call.content, **options)
    except grpc.aio.AioRpcError as error:
        if call.seconds < LONG:
            return LEFT
        late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and "within" not in str(error.details())
        return SILENT if late else error.code().name
    return "OK"
