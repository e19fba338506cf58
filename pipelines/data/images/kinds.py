"""Detect the format of a file from its first bytes, and find images that must not be decoded."""

import math
from io import BytesIO
from pathlib import Path

from PIL import Image

from pipelines.errors import counted

FORMATS = "JPEG, PNG, GIF, BMP or WebP"
HEAD = 512  # bytes at the start of a file that are used to detect its format
MOST_PIXELS = 1 << 27  # of one image: 134 million, which take 1.6 GB as float32 while the image is resized
IMAGE_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        "jpg jpeg jpe jfif png apng gif bmp dib webp tif tiff heic heif hif avif jxl jp2 j2k psd svg ico tga ppm pgm"
        " pbm pnm raw dng cr2 cr3 nef arw orf rw2 raf xcf exr hdr"
    ).split()
)
_DECODED = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
_OTHER_IMAGES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"8BPS": "Photoshop",
    b"\0\0\x01\0": "ICO",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"gimp xcf": "GIMP",
    b"P5\n": "PGM",
    b"P6\n": "PPM",
}
_NO_IMAGES = {
    b"%PDF": "a PDF document, not an image; save its pages as PNG",
    b"PK\x03\x04": "a ZIP archive, not an image; extract it",
    b"\x1f\x8b": "a gzip archive, not an image; extract it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive, not an image; extract it",
    b"Rar!": "a RAR archive, not an image; extract it",
    b"BZh": "a bzip2 archive, not an image; extract it",
    b"\xfd7zXZ\0": "an xz archive, not an image; extract it",
    b"\x1aE\xdf\xa3": "a video (Matroska or WebM), not an image; save its frames as PNG",
    b"version https://git-lfs": "a Git LFS pointer instead of the image; download the image with: git lfs pull",
    b"\x89HDF\r\n": "an HDF5 file, not an image",
}
_HEIC, _AVIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), (b"avif", b"avis")


def decoded_format(head: bytes) -> str | None:
    """Return the format of an image that can be decoded, from its first bytes, else None."""
    for start, name in _DECODED.items():
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in range(12, 125) else None


def other_format(head: bytes) -> str | None:
    """Return the format of an image that must be converted first, from its first bytes, else None."""
    for start, name in _OTHER_IMAGES.items():
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
        return next((name for name, own in (("AVIF", _AVIF), ("HEIC", _HEIC)) if set(own) & set(brands)), None)
    return "SVG" if b"<svg" in head.lower() and head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") else None


def no_image_kind(head: bytes) -> str | None:
    """Return what a file is that is not an image, and what to do with it, from its first bytes, else None."""
    for start, what in _NO_IMAGES.items():
        if head.startswith(start):
            return what
    if head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "a video, not an image; save its frames as PNG"
    if b"<html" in head.lower() or b"<!doctype html" in head.lower():
        return "a web page (HTML), not an image; download the image itself"
    return None


def is_image(path: Path) -> bool:
    """Return whether a file looks like an image of any format, by its suffix or its first bytes.

    A broken link is judged by its suffix. A hidden file is never an image.
    """
    if path.name.startswith("."):
        return False
    if not path.is_file():
        return path.suffix.lower() in IMAGE_ENDINGS and path.is_symlink() and not path.exists()
    if path.suffix.lower() in IMAGE_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return (decoded_format(head) or other_format(head)) is not None


def content_fault(content: bytes) -> str:
    """Return what bytes are that could not be decoded, and what to do with them."""
    head = content[:HEAD]
    if not content:
        return "an empty file"
    if name := decoded_format(head):
        return f"a truncated or damaged {name} image; save it again or remove it"
    if name := other_format(head):
        return (
            f"an image in an unsupported format ({name}); convert it to PNG or JPEG (ImageMagick: magick OLD NEW.png)"
        )
    if kind := no_image_kind(head):
        return kind
    text = not any(byte < 9 or 13 < byte < 32 for byte in head)
    return f"{'a text file, ' if text else ''}not a {FORMATS} image that can be decoded"


def header_fault(image: Path | bytes) -> str | None:
    """Return why an image must not be decoded, judging by its header, or None if it may be decoded.

    Raises:
        OSError: If the file of the image cannot be read.
    """
    if isinstance(image, Path):
        with image.open("rb") as file:
            head = file.read(HEAD)
    else:
        head = image[:HEAD]
    kind = decoded_format(head)
    if kind == "WebP" and head[12:16] == b"VP8X" and int.from_bytes(head[20:21], "big") & 2:
        return "an animated WebP image, which is not supported; save its first frame as PNG or WebP"
    if kind == "BMP" and (fault := _bmp_fault(head)):
        return f"a BMP image {fault}, which is not supported; save it as PNG"
    if kind and _pixels(image) > MOST_PIXELS:
        return f"an image with over {MOST_PIXELS / 1e6:,.0f} million pixels, which needs too much memory; resize it"
    return None


def _bmp_fault(head: bytes) -> str | None:
    size, bits, compression = (int.from_bytes(head[a:b], "little") for a, b in ((14, 18), (28, 30), (30, 34)))
    if size < 40:
        return "in OS/2 format"
    if compression not in (0, 3):
        return "with compression"
    if bits not in (8, 24, 32):
        return f"with {counted(bits, 'bit')} per pixel"
    blue_first = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
    return "with an unusual order of channels" if compression == 3 and head[54:66] != blue_first else None


def _pixels(image: Path | bytes) -> float:
    """Return the number of pixels that the header of an image declares, or 0 if it cannot be read.

    The number is infinite if Pillow refuses the image because it is too large.
    """
    try:
        source = image if isinstance(image, Path) else BytesIO(image)
        with Image.open(source, formats=("JPEG", "PNG", "GIF", "BMP", "WEBP")) as opened:
            return opened.width * opened.height
    except Image.DecompressionBombError:
        return math.inf
    except Exception:  # Pillow raises many types for damaged headers; decoding will report the damage
        return 0
