"""Word vectors in text files, as GloVe and word2vec write them: a word and its numbers on each line."""

import gzip
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pipelines.errors import UserError


def vector_words(path: str | Path) -> list[str]:
    """List the words of a file of vectors, in its order.

    Raises:
        UserError: as `read_vectors` does.
    """
    return list(dict.fromkeys(word for word, _ in _lines(Path(path))))


def read_vectors(path: str | Path, rows: Mapping[str, int], table: np.ndarray) -> int:
    """Fill the rows of `table` (V, D) whose words a file has; gives how many it has.

    Raises:
        UserError: naming the line that is no word with D numbers.
    """
    found = 0
    for number, (word, numbers) in enumerate(_lines(Path(path)), start=1):
        row = rows.get(word)
        if row is None:
            continue
        try:
            vector = np.array(numbers.split(" "), dtype="float32")
        except ValueError:
            raise UserError(f"{path}: vector {number}", f"'{word}' is followed by what is no number") from None
        if len(vector) != table.shape[1]:
            mend = f"set word_width: {len(vector)}"
            raise UserError(
                f"{path}: vector {number}", f"has {len(vector)} numbers, the model's words {table.shape[1]}; {mend}"
            )
        table[row] = vector
        found += 1
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file):
                word, _, numbers = line.rstrip("\r\n ").partition(" ")
                header = number == 0 and word.isdigit() and numbers.strip().isdigit()  # word2vec's count and width
                if word and numbers and not header:
                    yield word, numbers
    except (OSError, EOFError) as error:
        reason = os.strerror(error.errno) if getattr(error, "errno", None) else str(error)
        raise UserError(str(path), f"cannot read these word vectors ({reason})") from None
    except UnicodeDecodeError:
        raise UserError(
            str(path), "not UTF-8 text; word vectors are read in their text form, not the binary one"
        ) from None
