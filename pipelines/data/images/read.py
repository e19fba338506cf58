"""Decode images, and find images that cannot be decoded."""

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from pipelines.data.images.kinds import content_fault, header_fault


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decode one JPEG, PNG, GIF (its first frame), BMP or WebP image, with TensorFlow operations only.

    Returns RGB, uint8 (H, W, 3). Transparent pixels are blended with a white background.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not such an image.
    """
    return tf.cond(tf.io.is_jpeg(encoded), lambda: tf.io.decode_jpeg(encoded, channels=3), lambda: _decode(encoded))


def undecodable(images: Iterable[Path | bytes]) -> dict[int, str]:
    """Return the images that cannot be read or decoded, as index -> reason. All CPU cores are used."""
    images = list(images)
    # Warnings are caught outside the threads, because the filters belong to the whole process.
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns above a pixel limit of its own, which is lower
        faults = {number: fault for number, fault in enumerate(pool.map(_before_decoding, images)) if fault}
    sound = [number for number in range(len(images)) if number not in faults]
    if not sound:
        return faults
    from_files = isinstance(images[0], Path)
    given = tf.constant([str(images[number]) if from_files else images[number] for number in sound], tf.string)

    def number_and_size(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number, tf.size(decode_image(tf.io.read_file(image) if from_files else image))

    decoded = tf.data.Dataset.from_tensor_slices((tf.constant(sound), given))
    decoded = decoded.map(number_and_size, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors().batch(1024)
    good = {int(number) for numbers, _ in decoded.as_numpy_iterator() for number in numbers}
    faults |= {number: content_fault(_content(images[number])) for number in sound if number not in good}
    return dict(sorted(faults.items()))


def _before_decoding(image: Path | bytes) -> str | None:
    """Return why an image must not be decoded, by its name and its header, else None."""
    try:
        if isinstance(image, Path):
            str(image).encode()
        return header_fault(image)
    except UnicodeEncodeError:
        return "its name is not valid UTF-8; rename it"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _content(image: Path | bytes) -> bytes:
    return image.read_bytes() if isinstance(image, Path) else image


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, 34), tf.uint8, fixed_length=34)
    image = tf.io.decode_image(tf.where(_may_be_decoded(encoded, head), encoded, "no image"), expand_animations=False)
    image.set_shape([None, None, None])
    is_bmp = tf.strings.substr(encoded, 0, 2) == b"BM"
    image = tf.cond(is_bmp & (tf.shape(image)[2] == 1), lambda: _coloured(image, encoded, head), lambda: image)
    channels = tf.shape(image)[2]  # 1: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha
    has_fourth = channels % 2 == 0
    colour = tf.cast(image[:, :, : channels - tf.cast(has_fourth, tf.int32)], tf.float32)
    has_alpha = has_fourth & ~(is_bmp & (head[30] == 0))  # a plain BMP does not use the fourth channel
    opacity = tf.where(has_alpha, tf.cast(image[:, :, -1:], tf.float32) / 255, 1.0)
    shown = tf.round(colour * opacity + 255 * (1 - opacity))
    return tf.cast(tf.broadcast_to(shown, tf.concat([tf.shape(image)[:2], [3]], 0)), tf.uint8)


def _may_be_decoded(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Return whether bytes have a supported format and are not an animated WebP image.

    TensorFlow 2.21 writes beyond the first frame of an animated WebP image, which corrupts memory and ends the process.
    """
    starts = tf.constant([b"\x89P", b"GI", b"BM", b"RI"])
    known = tf.reduce_any(tf.strings.substr(encoded, 0, 2) == starts)
    animated = tf.reduce_all(head[8:16] == list(b"WEBPVP8X")) & (head[20] & 2 != 0)
    return known & ~animated


def _coloured(indices: tf.Tensor, encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Convert a BMP with a palette of 256 colours to RGB: (H, W, 1) -> (H, W, 3).

    TensorFlow decodes its palette indices as grey values.
    """
    start = 14 + tf.reduce_sum(tf.cast(head[14:18], tf.int32) * [1, 1 << 8, 1 << 16, 1 << 24])
    palette = tf.io.decode_raw(tf.strings.substr(encoded, start, 1024), tf.uint8, fixed_length=1024)
    return tf.gather(tf.reshape(palette, [256, 4])[:, 2::-1], tf.cast(indices[:, :, 0], tf.int32))
