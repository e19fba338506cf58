"""Read word vectors from text files of GloVe and word2vec, which have a word and its numbers on each line."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipelines.data.files import UNREADABLE, cause, open_bytes
from pipelines.errors import UserError, counted


def vector_words(path: str | Path) -> list[str]:
    """Return the words of a file of vectors, in the order of the file.

    Raises:
        UserError: If the file cannot be read.
    """
    return [word for _, word, _ in _lines(Path(path))]


def read_vectors(path: str | Path, rows: Sequence[int], table: np.ndarray) -> None:
    """Write the vectors of a file into `table` (V, D).

    `rows` holds the row of each word of the file, in the order of the file; -1 skips the word.

    Raises:
        UserError: If a line is not a word with D numbers. The message names the line.
    """
    for row, (number, word, numbers) in zip(rows, _lines(Path(path)), strict=True):
        if len(numbers) != table.shape[1]:
            problem = f"has {counted(len(numbers), 'number')}, but the model's word vectors have {table.shape[1]}"
            raise UserError(f"{path}:{number}", f"{problem}; set word_width: {len(numbers)}")
        try:
            vector = np.array(numbers, dtype="float32")
        except ValueError:
            raise UserError(f"{path}:{number}", f"'{word}' is followed by something that is not a number") from None
        if row >= 0:
            table[row] = vector


def _lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each line's number, word and numbers.

    Some words of GloVe contain blanks, so the first line sets the number of numbers per line.
    """
    width = None
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n"), start=1):
                cells = line.rstrip("\r\n ").split(" ")
                if number == 1 and len(cells) == 2 and cells[0].isdigit() and cells[1].isdigit():
                    width = int(cells[1])  # the header of word2vec: number of words and vector size
                elif len(cells) > 1:
                    width = width or len(cells) - 1
                    yield (
                        number,
                        " ".join(cells[:-width]) or cells[0],
                        cells[-width:] if len(cells) > width else cells[1:],
                    )
    except UNREADABLE as error:
        raise UserError(str(path), f"cannot read these word vectors ({cause(error)})") from None
    except UnicodeDecodeError:
        problem = "is not UTF-8 text; use word vectors in the text format, not in the binary one"
        raise UserError(str(path), problem) from None
