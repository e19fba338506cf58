"""Sources of text: Python's language reference, files and TensorFlow Datasets."""

import pydoc_data.topics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.files import Root, Split, names_by_split
from pipelines.data.pairs.languages import parts_words
from pipelines.data.texts.files import Reading, find_texts
from pipelines.data.texts.read import LEAST_STRETCHES, Stretch, Texts, cut_text, read_texts
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.encoding import Encoding
from pipelines.errors import UserError
from pipelines.text import SPLIT_UNKNOWN

TEXT = "text"
SAMPLE = 50  # stretches that decide whether spaces separate words
Names = Annotated[list[str], Field(min_length=1)]
DOCUMENT = "document"  # number of the document; the stretches of a document are consecutive


def embedded() -> Source:
    """Return the language reference that comes with Python: English text about Python, with examples.

    Topics that repeat the text of longer ones are left out, so that no split repeats another.
    """
    topics = _without_repeats(pydoc_data.topics.topics)
    origin = {"module": "pydoc_data.topics", "topics": len(topics), "licence": "PSF-2.0"}
    return Source({"all": _table([cut_text("\n".join(topics[name] for name in sorted(topics)))])}, origin)


def _without_repeats(topics: Mapping[str, str]) -> dict[str, str]:
    """Return the topics most of whose paragraphs are in no longer topic."""
    kept, seen = {}, set[str]()
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        paragraphs = [" ".join(part.split()) for part in topics[name].split("\n\n")]
        if 2 * sum(len(part) for part in paragraphs if part in seen) < sum(map(len, paragraphs)):
            kept[name] = topics[name]
            seen.update(paragraphs)
    return kept


def files(
    *,
    root: Root = ".",
    path: Annotated[
        str | Names | dict[Split, str | Names],
        Field(
            description="text files to split by position, or the files of each split by name: a file, a folder (all"
            " texts in it), a pattern such as books/*.txt, or a list of these. Files may be compressed (.gz)"
        ),
    ],
    encoding: Encoding = "utf-8",
    text_key: Annotated[
        str,
        Field(
            description="column of CSV files or key of JSON objects that contains the texts; each text is a document"
        ),
    ] = "text",
    as_written: Annotated[
        bool, Field(description="keep the markup of HTML, XML, CSV and JSON files instead of extracting their text")
    ] = False,
) -> Source:
    """Read text files. Each file is a document."""
    names, how = names_by_split(path), Reading(encoding, text_key, as_written)
    found = {split: find_texts(Path(root), each, how) for split, each in names.items()}
    # Splits that are not divided further may have longer stretches, so that fewer tokens lack their context.
    least = dict.fromkeys(("validation", "test"), 1)
    read = {split: read_texts(each, least.get(split, LEAST_STRETCHES), how) for split, each in found.items()}
    tables = {split: _table(texts.documents) for split, texts in read.items()}
    for split, table in tables.items():
        if table.empty:
            raise UserError(str(Path(root) / names[split][0]), "contains no text")
    origin: dict[str, Any] = {"files": {split: [str(file) for file in each.files] for split, each in found.items()}}
    passed_over = [file for each in found.values() for file in each.passed_over]
    odd = list(dict.fromkeys(each for texts in read.values() for each in texts.odd))
    if passed_over:
        origin["passed_over"] = [f"{file['place']}: {file['reason']}" for file in passed_over]
    places: dict[str, Sequence[str]] = {
        split: [f"{each.path}, byte {each.start}" if isinstance(each, Stretch) else "" for each in table[TEXT]]
        for split, table in tables.items()
    }
    groups: dict[str, dict[str, Sequence[str]]] = {
        split: {"file": [str(each.path) for each in table[TEXT]]}
        for split, table in tables.items()
        if all(isinstance(each, Stretch) for each in table[TEXT])
    }
    return Source(tables, origin, warnings=odd, facts=_facts(tables, read), places=places, groups=groups)


def _facts(tables: Mapping[str, pd.DataFrame], read: Mapping[str, Texts]) -> dict[str, str]:
    """Describe the amount of text, and whether spaces separate words."""
    counts = {name: f"{len(each.documents):,} with {each.characters:,} characters" for name, each in read.items()}
    facts = {"documents": counts.get("all") or ", ".join(f"{name} {count}" for name, count in counts.items())}
    texts = next(iter(tables.values()))[TEXT]
    some = [str(text) for text in texts.iloc[:: -(-len(texts) // SAMPLE)]]
    if any(SPLIT_UNKNOWN in text for text in some):
        facts["tokens"] = (
            f"already split, because the text contains {SPLIT_UNKNOWN}; keep them with preprocessing.level: token"
        )
    if not parts_words(some):
        facts["words"] = (
            "not separated by spaces, so word_perplexity is not computed; do not set preprocessing.level to word or"
            " token"
        )
    return facts


def tfds(
    *,
    text: Annotated[str, Field(description="feature that contains the text; each example is a document")],
    **prepared: Unpack[Prepared],
) -> Source:
    """Read texts from TensorFlow Datasets."""
    loaded, origin = load_tfds({TEXT: text}, **prepared)
    return Source({split: _table(map(cut_text, table[TEXT])) for split, table in loaded.items()}, origin)


def _table(documents: Iterable[list[Stretch] | list[str]]) -> pd.DataFrame:
    rows = [(stretch, number) for number, stretches in enumerate(documents) for stretch in stretches]
    return pd.DataFrame(rows, columns=[TEXT, DOCUMENT])
