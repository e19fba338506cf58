"""The tokens of a text, found in graph by a regular expression.

Shapes: B texts, T tokens.
"""

import tensorflow as tf

from pipelines.errors import UserError
from pipelines.storage import BREAK

PATTERN = (  # of the shipped config: also of texts whose entities are given by characters
    r"https?://\S+|[@#][\pL\pN_]+|(?:\pL\.)+|\d+(?:[.,:]\d+)*|'(?:s|m|d|ll|re|ve)\b"
    r"|[\pL\pM\pN_]+(?:-[\pL\pM\pN_]+|['’]\p{Lu}[\pL\pM]+)*|[^\s\pZ\pC]"
)
TEXTS_AT_ONCE = 256  # all are padded to the longest


def find_tokens(text: tf.Tensor, pattern: str) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Find the tokens of texts (B,): tokens (B, T) and the character at which each begins (B, T)."""
    text = tf.strings.regex_replace(text, BREAK, " ")
    parts = tf.strings.split(tf.strings.regex_replace(text, f"({pattern})", rf"{BREAK}\1{BREAK}"), BREAK)
    lengths = tf.strings.length(parts.flat_values, unit="UTF8_CHAR")
    ends = parts.with_values(lengths).to_tensor()
    starts = tf.RaggedTensor.from_tensor(tf.cumsum(ends, axis=1, exclusive=True), parts.row_lengths())
    # Tokens stand between breaks: the second part of a text, the fourth, and so on.
    place = tf.RaggedTensor.from_row_splits(tf.ragged.range(parts.row_lengths()).flat_values, parts.row_splits)
    token = place % 2 == 1
    return tf.ragged.boolean_mask(parts, token), tf.ragged.boolean_mask(starts, token)


def tokenize(texts: list[str], pattern: str) -> list[tuple[list[str], list[int]]]:
    """Find the tokens of each text, and the character at which each begins."""
    found = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens, starts = find_tokens(tf.constant(texts[start : start + TEXTS_AT_ONCE]), pattern)
        found += zip(tokens.to_list(), starts.to_list(), strict=True)
    return [([token.decode() for token in row], places) for row, places in found]


def check_pattern(pattern: str, where: str) -> None:
    """Check that a pattern is an RE2 expression that matches no empty token.

    Raises:
        UserError: about `where`.
    """
    try:
        empty = tf.strings.regex_full_match("", f"({pattern})")
    except tf.errors.InvalidArgumentError:
        raise UserError(where, f"'{pattern}' is no RE2 regular expression") from None
    if empty:
        raise UserError(where, f"'{pattern}' also matches a token of no characters")
