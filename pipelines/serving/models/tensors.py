"""Conversion of request values to arrays that match a signature, and of arrays to JSON values."""

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.serving.request_errors import invalid

MOST_DIMENSIONS = 32  # the limit of NumPy
MOST_ELEMENTS = 1 << 24  # limit of a padded request: padding many short rows to a long one costs memory
LONGEST = 1 << 31  # limit per dimension; the element limit alone allows any size next to a dimension of 0


@dataclass(frozen=True)
class Spec:
    """The specification of one tensor in a signature; None is a variable dimension, or a shape of unknown rank."""

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    @cached_property
    def is_text(self) -> bool:
        """Return whether the tensor holds strings."""
        return self.dtype == tf.string

    @cached_property
    def is_float(self) -> bool:
        """Return whether the tensor holds floats."""
        return self.dtype.is_floating

    @cached_property
    def numpy_type(self) -> Any:
        """Return the NumPy type."""
        return self.dtype.as_numpy_dtype

    @property
    def empty(self) -> Any:
        """Return the padding value."""
        return b"" if self.is_text else 0

    def fitted(self, shape: list[int]) -> list[int]:
        """Return a shape with dimensions of 1 left out or added at its end, if only then it fits.

        Codecs of MLServer send N values as (N, 1), and clients of TensorFlow Serving one value as a scalar.
        """
        if self.shape is None or _fits(shape, self.shape):
            return shape
        rank = len(self.shape)
        other = [*shape[:rank], *[1] * (rank - len(shape))]
        return other if math.prod(other) == math.prod(shape) and _fits(other, self.shape) else shape

    def takes_flat(self, rank: int) -> bool:
        """Return whether only dimensions of 1 follow the first `rank`, so that clients may leave them out."""
        return self.shape is not None and 0 < rank < len(self.shape) and set(self.shape[rank:]) == {1}

    def check(self, array: np.ndarray) -> np.ndarray:
        """Return `array` unchanged if its type and shape fit.

        Raises:
            RequestError: If they do not; it names the tensor and the expected type or shape.
        """
        given = array.dtype
        if given != self.numpy_type and not (self.is_text and given.kind == "O"):
            raise invalid(f"input '{self.name}' must be {self.dtype.name}, not {given.name}")
        if self.shape is not None and not _fits(array.shape, self.shape):
            raise invalid(
                f"input '{self.name}' must have the shape {written_shape(self.shape)}, not {written_shape(array.shape)}"
            )
        return array


def from_json(values: Any, spec: Spec) -> np.ndarray:
    """Convert nested lists to an array; rows of unequal length are padded if the dimension is variable.

    In float inputs, `null` means NaN. A string is given as it is, or as {"b64": base64 of its bytes}.

    Raises:
        RequestError: If the values do not fit; it names the input and the problem.
    """
    array = _column(values, spec)
    if array is not None:
        return array
    if not spec.is_text and spec.dtype != tf.bool:
        array = _numbers(values)
    if array is None:
        array = _filled(values, spec)
    elif spec.takes_flat(array.ndim):
        array = array.reshape([*array.shape, *spec.shape[array.ndim :]])  # type: ignore[index]
    return spec.check(_as_type(array, spec))


def merge(arrays: Sequence[np.ndarray], empty: Any) -> np.ndarray:
    """Concatenate batches, padded with `empty` to the longest."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) == 1:
        return np.concatenate(arrays)
    longest = tuple(map(max, zip(*shapes, strict=True)))
    merged = np.full((sum(map(len, arrays)), *longest), empty, arrays[0].dtype)
    row = 0
    for array in arrays:
        merged[(slice(row, row + len(array)), *map(slice, array.shape[1:]))] = array
        row += len(array)
    return merged


def to_json(array: np.ndarray, name: str) -> Any:
    """Convert an array to nested lists.

    Strings become {"b64": ...} if `name` ends in `_bytes`, or if they are not valid UTF-8.
    """
    if array.dtype.kind != "O":
        return array.tolist() if array.dtype.kind in "biuf" else array.astype("float32").tolist()
    as_bytes = name.endswith("_bytes")

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        if not as_bytes:
            try:
                return value.decode()
            except UnicodeDecodeError:
                pass
        return {"b64": base64.b64encode(value).decode()}

    return plain(array.tolist())


def check_shape(shape: Sequence[int], name: str) -> None:
    """Check a shape that a client sent.

    Raises:
        RequestError: If a tensor cannot have this shape.
    """
    if len(shape) > MOST_DIMENSIONS or not all(0 <= length <= LONGEST for length in shape):
        raise invalid(f"input '{name}' cannot have the shape {written_shape(shape[:MOST_DIMENSIONS])}")


def check_rows(count: int, most: int, name: str) -> None:
    """Check the number of rows, before they are converted.

    Raises:
        RequestError: If there are more than `most`.
    """
    if count > most:
        raise invalid(f"'{name}' has {count:,} rows; at most {most:,} are allowed")


def decoded(value: str, name: str) -> bytes:
    """Decode base64.

    Raises:
        RequestError: If the value is not base64; it names the input.
    """
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"input '{name}' has a 'b64' value that is not base64") from None


def _column(values: Any, spec: Spec) -> np.ndarray | None:
    """Read a flat list of strings or floats quickly, or return None; requests for tables have many such lists."""
    if spec.shape != (None,) or type(values) is not list:
        return None
    kinds = set(map(type, values))
    try:
        if spec.is_text and kinds == {str}:
            array = np.empty(len(values), object)
            array[:] = [value.encode() for value in values]
            return array
        if spec.is_float and kinds <= {float, int}:
            return np.array(values, spec.numpy_type)
    except (UnicodeEncodeError, OverflowError):  # the slow path reports the error
        pass
    return None


def _numbers(values: Any) -> np.ndarray | None:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):  # lists of unequal length, or integers over 64 bits
        return None
    return array if array.dtype.kind in "iuf" and array.size else None


def _filled(values: Any, spec: Spec) -> np.ndarray:
    shape: list[int] = []
    _measure(values, 0, shape, spec)
    if spec.shape is not None and len(shape) != len(spec.shape):
        raise invalid(
            f"input '{spec.name}' must have the shape {written_shape(spec.shape)}, not {written_shape(shape)}"
        )
    if math.prod(shape) > MOST_ELEMENTS:
        raise invalid(
            f"input '{spec.name}' is too large after its rows are padded to the longest: {written_shape(shape)}"
        )
    array = np.full(shape, spec.empty, object)
    variable = [spec.shape is None or length is None for length in spec.shape or shape]
    _put(values, array, (), variable, spec)
    return array


def _measure(values: Any, depth: int, shape: list[int], spec: Spec) -> None:
    if not isinstance(values, list):
        return
    if depth == MOST_DIMENSIONS:
        raise invalid(f"input '{spec.name}' is nested too deeply")
    if depth == len(shape):
        shape.append(0)
    shape[depth] = max(shape[depth], len(values))
    for value in values:
        _measure(value, depth + 1, shape, spec)


def _put(values: Any, array: np.ndarray, place: tuple[int, ...], variable: list[bool], spec: Spec) -> None:
    if len(place) == array.ndim:
        array[place] = _element(values, spec)
        return
    if not isinstance(values, list):
        raise invalid(f"input '{spec.name}' mixes values and lists at the same level")
    if len(values) < array.shape[len(place)] and not variable[len(place)]:
        raise invalid(f"input '{spec.name}' has lists of different lengths in a dimension of fixed size")
    for number, value in enumerate(values):
        _put(value, array, (*place, number), variable, spec)


def _element(value: Any, spec: Spec) -> Any:
    if spec.is_text:
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError:
                raise invalid(f"input '{spec.name}' has half of a surrogate pair") from None
        if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
            return decoded(value["b64"], spec.name)
    elif spec.dtype == tf.bool:
        if isinstance(value, bool):
            return value
    elif value is None and spec.is_float:
        return float("nan")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise invalid(f"input '{spec.name}' must be {spec.dtype.name}, not {str(value)[:60]!r}")


def _as_type(array: np.ndarray, spec: Spec) -> np.ndarray:
    if spec.is_text:
        return array
    kind, wanted = array.dtype.kind, spec.dtype
    whole = kind in "iu" or (kind == "O" and all(isinstance(value, int) for value in array.flat))
    if wanted.is_integer:
        if not whole:
            raise invalid(f"input '{spec.name}' must be whole numbers ({wanted.name})")
        if array.size and not (wanted.min <= array.min() and array.max() <= wanted.max):
            raise invalid(f"input '{spec.name}' has a number outside the range of {wanted.name}")
    try:
        with np.errstate(over="ignore"):
            return array.astype(spec.numpy_type)
    except (ValueError, OverflowError, TypeError):
        raise invalid(f"input '{spec.name}' must be {wanted.name}") from None


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        length is None or given == length for given, length in zip(shape, wanted, strict=True)
    )


def written_shape(shape: Sequence[int | None]) -> str:
    """Format a shape for error messages."""
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"
