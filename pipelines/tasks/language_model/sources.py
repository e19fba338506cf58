"""Where text comes from: Python's own language reference, files, TensorFlow Datasets."""

import pydoc_data.topics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.texts import LEAST_STRETCHES, Stretch, cut_text, read_stretches, text_files
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.errors import UserError

TEXT = "text"
DOCUMENT = "document"  # a number: stretches of one document follow each other


def embedded() -> Source:
    """Take the language reference that comes with Python: real English about Python, with examples."""
    topics = pydoc_data.topics.topics
    origin = {"module": "pydoc_data.topics", "topics": len(topics), "licence": "PSF-2.0"}
    return Source({"all": _table([cut_text("\n".join(topics[name] for name in sorted(topics)))])}, origin)


def files(
    *,
    root: Root,
    path: Annotated[
        str | dict[Split, str | Annotated[list[str], Field(min_length=1)]],
        Field(
            description="a text file, or a folder of which every file counts, to be split by position; or such, or"
            " several, a split by name; UTF-8, .gz is read too"
        ),
    ],
) -> Source:
    """Read text files, each one document."""
    if isinstance(path, dict):
        paths_by_split("", dict.fromkeys(path, ""))
    by_split = (
        {"all": [path]} if isinstance(path, str) else {s: [p] if isinstance(p, str) else p for s, p in path.items()}
    )
    found = {
        split: [file for name in each for file in text_files(Path(root) / name)] for split, each in by_split.items()
    }
    # What no split is cut off from can stand in longer stretches, of which fewer tokens lack what comes before.
    least = dict.fromkeys(("validation", "test"), 1)
    tables = {
        split: _table(read_stretches(file, least.get(split, LEAST_STRETCHES)) for file in each)
        for split, each in found.items()
    }
    for split, table in tables.items():
        if table.empty:
            raise UserError(str(Path(root) / by_split[split][0]), "holds no text")
    return Source(tables, {"files": {split: [str(file) for file in each] for split, each in found.items()}})


def tfds(
    *,
    text: Annotated[str, Field(description="the feature that holds the text; each example is a document")],
    **prepared: Unpack[Prepared],
) -> Source:
    """Read texts from TensorFlow Datasets."""
    loaded, origin = load_tfds({TEXT: text}, **prepared)
    return Source({split: _table(map(cut_text, table[TEXT])) for split, table in loaded.items()}, origin)


def _table(documents: Iterable[list[Stretch] | list[str]]) -> pd.DataFrame:
    rows = [(stretch, number) for number, stretches in enumerate(documents) for stretch in stretches]
    return pd.DataFrame(rows, columns=[TEXT, DOCUMENT])
