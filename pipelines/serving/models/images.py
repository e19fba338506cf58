"""Read the size of encoded images from their headers, before decoding."""

import io
import warnings

from PIL import Image

from pipelines.serving.request_errors import invalid

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a")  # the signatures that tf.io.decode_image checks
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")  # TensorFlow 2.21 decodes it too; its size is hard to find
SCANS = 16  # of a JPEG; each further one of a progressive JPEG goes over all pixels again
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # header sizes in bytes; a text may start with "BM" too


def looks_encoded(content: bytes) -> bool:
    """Return whether a string is an encoded image."""
    if content.startswith((*_STARTS, *_JPEG_XL)):
        return True
    if content.startswith(b"RIFF"):
        return content[8:12] == b"WEBP"
    return content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in _BMP_HEADERS


# Pillow warns at its own, larger limit. The filter is set once, because warning filters are shared by all threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def pixels(content: bytes) -> int:
    """Return the number of pixels that decoding an image goes through.

    It is what the header declares, for each frame of a GIF and for each 16 scans of a progressive JPEG.

    Raises:
        RequestError: If the header cannot be read, or the format is not one whose size is known before decoding.
    """
    if content.startswith(_JPEG_XL):
        raise invalid("image: JPEG XL is not supported; send JPEG, PNG, GIF, BMP or WebP")
    if content[8:16] == b"WEBPVP8X" and content[20:21] and content[20] & 2:
        raise invalid(
            "image: animated WebP is not supported"
        )  # TensorFlow 2.21 writes past the first frame and crashes
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "GIF", "BMP", "WEBP")) as image:
            return image.width * image.height * _passes(content)
    except Image.DecompressionBombError as error:
        raise invalid(f"image: {error}") from None
    except Exception as error:  # Pillow raises many exception types for damaged headers
        raise invalid(f"image: cannot read the header ({type(error).__name__})") from None


def _passes(content: bytes) -> int:
    """Return how often decoding goes through all pixels."""
    if content.startswith(b"\xff\xd8"):
        return -(-content.count(b"\xff\xda") // SCANS) or 1  # the marker of a scan is not in its data
    return _frames(content) if content.startswith(b"GIF8") else 1


def _frames(content: bytes) -> int:
    """Count the frames of a GIF (89a specification, section 17 on)."""
    frames, place = 0, 13 + _colours(content[10:11])
    while content[place : place + 1] in (b"\x21", b"\x2c"):
        if content[place] == 0x2C:
            frames += 1
            place += 11 + _colours(content[place + 9 : place + 10])  # the descriptor, and the size of codes
        else:
            place += 2
        while size := int.from_bytes(content[place : place + 1]):
            place += 1 + size
        place += 1
    return max(1, frames)


def _colours(flags: bytes) -> int:
    """Return the size of a colour table in bytes."""
    value = int.from_bytes(flags)
    return 3 << (value & 7) + 1 if value & 0x80 else 0
