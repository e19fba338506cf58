"""The size of encoded images, read from their headers before anything decodes them."""

import io
import warnings

from PIL import Image

from pipelines.serving.request_errors import invalid

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a")  # what tf.io.decode_image tells images by
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes; "BM" alone may begin a text


def looks_encoded(content: bytes) -> bool:
    """Say whether a string is an encoded image rather than a text."""
    if content.startswith(_STARTS):
        return True
    if content.startswith(b"RIFF"):
        return content[8:12] == b"WEBP"
    return content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in _BMP_HEADERS


# Pillow warns of a larger limit of its own; once for all threads, since what is caught is not of a thread alone.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def pixels(content: bytes) -> int:
    """Count the pixels that an encoded image says it has.

    Raises:
        RequestError: where its header cannot be read.
    """
    if content[8:16] == b"WEBPVP8X" and content[20:21] and content[20] & 2:
        raise invalid("image: an animated WebP is not read")  # TensorFlow 2.21 writes beyond its first frame, and dies
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "GIF", "BMP", "WEBP")) as image:
            return image.width * image.height
    except Image.DecompressionBombError as error:
        raise invalid(f"image: {error}") from None
    except Exception as error:  # Pillow's parsers raise many types for headers that are damaged
        raise invalid(f"image: its header cannot be read ({type(error).__name__})") from None
