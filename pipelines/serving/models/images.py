"""Read the size of encoded images from their headers, before decoding."""

import io
import warnings

from PIL import Image

from pipelines.serving.request_errors import invalid

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a")  # the signatures that tf.io.decode_image checks
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # header sizes in bytes; a text may start with "BM" too


def looks_encoded(content: bytes) -> bool:
    """Return whether a string is an encoded image."""
    if content.startswith(_STARTS):
        return True
    if content.startswith(b"RIFF"):
        return content[8:12] == b"WEBP"
    return content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in _BMP_HEADERS


# Pillow warns at its own, larger limit. The filter is set once, because warning filters are shared by all threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def pixels(content: bytes) -> int:
    """Return the number of pixels that the header of an encoded image declares.

    Raises:
        RequestError: If the header cannot be read.
    """
    if content[8:16] == b"WEBPVP8X" and content[20:21] and content[20] & 2:
        raise invalid(
            "image: animated WebP is not supported"
        )  # TensorFlow 2.21 writes past the first frame and crashes
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "GIF", "BMP", "WEBP")) as image:
            return image.width * image.height
    except Image.DecompressionBombError as error:
        raise invalid(f"image: {error}") from None
    except Exception as error:  # Pillow raises many exception types for damaged headers
        raise invalid(f"image: cannot read the header ({type(error).__name__})") from None
