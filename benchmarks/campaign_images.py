"""Images that are none, are damaged, or mean more work than they show."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
LARGE = 20_000  # pixels


def image(random: random.Random) -> tuple[str, bytes]:
    """Return an image and its kind."""
    kind = random.choice(list(KINDS))
    return kind, KINDS[kind](random)


def _cut(random: random.Random) -> bytes:
    content = _good(random.choice(FORMATS))
    return content[: random.randrange(len(content))]


def _changed(random: random.Random) -> bytes:
    content = bytearray(_good(random.choice(FORMATS)))
    for _ in range(random.choice((1, 5, 50))):
        content[random.randrange(len(content))] = random.randrange(256)
    return bytes(content)


def _bomb(random: random.Random) -> bytes:
    width, height = random.choice(((LARGE, LARGE), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (0, 0), (5_000, 4_999)))
    rows = random.choice((b"", bytes(1 << 20)))
    return _png(width, height, rows)


def _frames(random: random.Random) -> bytes:
    return _animated(random.choice(("GIF", "WEBP", "PNG")), random.choice((2, 200)))


def _scans(random: random.Random) -> bytes:
    content = _good("progressive")
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * random.choice((2, 100, 3_000)) + content[-2:]


def _mode(random: random.Random) -> bytes:
    return _of_mode(*random.choice((("CMYK", "JPEG"), ("1", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("LA", "PNG"))))


def _unknown(random: random.Random) -> bytes:
    starts = (
        b"\xff\x0a\xfa\x1f",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"II*\0",
        b"MM\0*",
        b"\0\0\0 ftypavif",
        b"8BPS",
        b"<svg ",
    )
    starts += (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"P6\n9 9\n255\n",
    )
    return random.choice(starts) + random.randbytes(random.choice((0, 10, 3_000)))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "cut": _cut,
    "bytes changed": _changed,
    "bomb": _bomb,
    "many frames": _frames,
    "many scans": _scans,
    "odd mode": _mode,
    "unknown format": _unknown,
}


@cache
def _good(kind: str) -> bytes:
    buffer = io.BytesIO()
    progressive = kind == "progressive"
    _noise(400 if progressive else 40, 0).save(
        buffer, "JPEG" if progressive else kind, **({"progressive": True} if progressive else {})
    )
    return buffer.getvalue()


@cache
def _animated(kind: str, frames: int) -> bytes:
    buffer = io.BytesIO()
    images = [_noise(20, number) for number in range(frames)]
    images[0].save(buffer, kind, save_all=True, append_images=images[1:])
    return buffer.getvalue()


def _noise(size: int, seed: int) -> Any:
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, [size, size, 3], "uint8"))


@cache
def _of_mode(mode: str, kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, (20, 20)).save(buffer, kind)
    return buffer.getvalue()


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
