"""Split texts into tokens with a regular expression, in the graph.

Shapes: B texts, T tokens.
"""

import tensorflow as tf

from pipelines.errors import UserError
from pipelines.storage import BREAK

TEXTS_AT_ONCE = 256  # each batch is padded to its longest text


def find_tokens(text: tf.Tensor, pattern: str) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Split texts (B,) into tokens. Return the tokens (B, T) and their character offsets (B, T)."""
    text = tf.strings.regex_replace(text, BREAK, " ")
    parts = tf.strings.split(tf.strings.regex_replace(text, f"({pattern})", rf"{BREAK}\1{BREAK}"), BREAK)
    lengths = tf.strings.length(parts.flat_values, unit="UTF8_CHAR")
    ends = parts.with_values(lengths).to_tensor()
    starts = tf.RaggedTensor.from_tensor(tf.cumsum(ends, axis=1, exclusive=True), parts.row_lengths())
    # Tokens are between breaks, so they are the parts at odd positions.
    place = tf.RaggedTensor.from_row_splits(tf.ragged.range(parts.row_lengths()).flat_values, parts.row_splits)
    token = place % 2 == 1
    return tf.ragged.boolean_mask(parts, token), tf.ragged.boolean_mask(starts, token)


def tokenize(texts: list[str], pattern: str) -> list[tuple[list[str], list[int]]]:
    """Split each text into tokens, and return the tokens and their character offsets."""
    found: list[tuple[list[bytes], list[int]]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens, starts = find_tokens(tf.constant(texts[start : start + TEXTS_AT_ONCE]), pattern)
        found += zip(tokens.to_list(), starts.to_list(), strict=True)
    return [([token.decode() for token in row], places) for row, places in found]


def check_pattern(pattern: str, where: str) -> None:
    """Check that a pattern is a valid RE2 expression that does not match the empty string.

    Raises:
        UserError: If the pattern is not valid. The error names the setting `where`.
    """
    try:
        empty = tf.strings.regex_full_match("", f"({pattern})")
    except tf.errors.InvalidArgumentError:
        raise UserError(where, f"'{pattern}' is not a valid RE2 regular expression") from None
    if empty:
        raise UserError(where, f"'{pattern}' also matches the empty string")
