"""Conversion of request bodies: a bound on their values before they are converted, and threads for large ones."""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pydantic_core
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from pipelines.serving.request_errors import invalid

SMALL = 16 << 10  # bytes; a body up to this size is converted on the event loop, within a few milliseconds
THREADS = 2  # more would only wait for Python's global lock
CHUNK = 1 << 20  # bytes that are counted without letting other threads run
MOST_DEPTH = 100  # of nested messages, as in the parser of protobuf

Result = TypeVar("Result")


class Conversions:
    """The threads that convert large bodies, so that the event loop goes on."""

    def __init__(self):
        self._executor = ThreadPoolExecutor(THREADS, "conversions")

    async def run(self, size: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that converts `size` bytes, in another thread if they are many."""
        if size <= SMALL:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def parse_json(content: bytes, most_values: int) -> Any:
    """Parse JSON, once it is known to have at most `most_values` values.

    Raises:
        RequestError: If it has more, or is not JSON.
    """
    if len(content) > most_values and _json_values(content, most_values) > most_values:
        raise _too_many(most_values)
    collecting = gc.isenabled() and len(content) > SMALL
    if collecting:  # parsed values have no cycles, but collections would look through all of them again and again
        gc.disable()
    try:
        return pydantic_core.from_json(content)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    finally:
        if collecting:
            gc.enable()


def parse_message(kind: type[Message], content: bytes, most_values: int) -> Message:
    """Parse a protobuf message, once it is known to have at most `most_values` values.

    Raises:
        RequestError: If it has more, or is not such a message.
    """
    try:
        if len(content) > most_values:
            _Counting(most_values).message(kind.DESCRIPTOR, memoryview(content), 0)
        return kind.FromString(content)
    except (DecodeError, IndexError):
        raise invalid(f"the request is not a valid {kind.DESCRIPTOR.name} message") from None


def _json_values(content: bytes, most: int) -> int:
    """Count commas and opening brackets outside strings: at least as many as values; stop beyond `most`."""
    total, inside, rest = 0, False, b""
    for start in range(0, len(content), CHUNK):
        chunk = (rest + content[start : start + CHUNK]).replace(rb"\\", b"")
        rest = b"\\" if chunk.endswith(b"\\") else b""  # what it escapes is in the next chunk
        parts = chunk[: len(chunk) - len(rest)].replace(rb"\"", b"").split(b'"')
        outside = b"".join(parts[int(inside) :: 2])
        total += sum(map(outside.count, (b",", b"[", b"{")))
        if total > most:
            break
        inside ^= len(parts) % 2 == 0
    return total


class _Counting:
    """Counts the values of a serialized message, from its wire format.

    https://protobuf.dev/programming-guides/encoding
    """

    def __init__(self, most: int):
        self.most, self.left = most, most

    def message(self, kind: Descriptor, content: memoryview, depth: int) -> None:
        """Count the values of one message and of those in it."""
        if depth > MOST_DEPTH:
            raise DecodeError
        fields, place = kind.fields_by_number, 0
        while place < len(content):
            tag, place = _varint(content, place)
            size, place = _size(content, place, tag & 7)
            if place + size > len(content):
                raise DecodeError
            self._take(1)
            field = fields.get(tag >> 3)
            if field is not None and tag & 7 == 2:
                self._inside(field, content[place : place + size], depth)
            place += size

    def _inside(self, field: FieldDescriptor, content: memoryview, depth: int) -> None:
        if field.message_type is not None:
            self.message(field.message_type, content, depth + 1)
        elif field.cpp_type != FieldDescriptor.CPPTYPE_STRING:  # packed numbers
            width = {FieldDescriptor.CPPTYPE_FLOAT: 4, FieldDescriptor.CPPTYPE_DOUBLE: 8}.get(field.cpp_type)
            if width is not None:
                self._take(len(content) // width)
            elif len(content) > self.left:  # a number ends with a byte below 128
                self._take(len(bytes(content).translate(None, _CONTINUED)))

    def _take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _too_many(self.most)


_CONTINUED = bytes(range(128, 256))


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise DecodeError


def _size(content: memoryview, place: int, kind: int) -> tuple[int, int]:
    """Return the size of a field's content, and where it begins."""
    if kind == 2:
        return _varint(content, place)
    if kind == 0:
        return 0, _varint(content, place)[1]
    if kind not in (1, 5):
        raise DecodeError
    return {1: 8, 5: 4}[kind], place


def _too_many(most: int) -> Exception:
    return invalid(f"the request has more than {most:,} values; send fewer, or large tensors in binary form")
