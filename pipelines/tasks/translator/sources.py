"""Where pairs of texts come from: phrases that CLDR knows in many languages, files, TensorFlow Datasets."""

from collections.abc import Mapping
from typing import Annotated, Any, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.pairs import Filters, Pair, filter_pairs, read_pairs
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.errors import UserError
from pipelines.tasks.translator.phrases import make_phrases
from pipelines.tasks.translator.preprocessing import SOURCE, TARGET

From = Annotated[str, Field(description="language that is translated from, such as en")]
To = Annotated[str, Field(description="language that is translated to, such as fr")]


def embedded(
    *,
    from_language: From,
    to_language: To,
    examples: Annotated[int, Field(ge=100, le=1000000, description="pairs, of which four fifths are for training")],
) -> Source:
    """Make phrases with CLDR's and num2words' knowledge of languages.

    They are dates, times, amounts, numbers in words, and names of countries and languages. No date, time or number of
    validation or test occurs in train; the names do.
    """
    splits, origin = make_phrases(from_language, to_language, examples)
    tables = {split: pd.DataFrame(pairs, columns=[SOURCE, TARGET]) for split, pairs in splits.items()}
    return Source(tables, {**_languages(from_language, to_language), **origin})


def files(
    *,
    from_language: From,
    to_language: To,
    root: Root,
    path: Annotated[
        str | dict[Split, str],
        Field(
            description="of all pairs, or of each split: two files with a text on each line, as corpus.{language}; a"
            " .tsv file, source and target being its first two columns; or a .tmx file. UTF-8, .gz is read too"
        ),
    ],
    **filters: Unpack[Filters],
) -> Source:
    """Read pairs of texts; what train, or a file of all pairs, holds beyond the filters' rules is left out."""
    paths = paths_by_split(root, path)
    pairs = {split: read_pairs(file, from_language, to_language) for split, file in paths.items()}
    found = {split: str(file) for split, file in paths.items()}
    return _source(pairs, filters, {**_languages(from_language, to_language), "files": found}, found)


class PreparedPairs(Prepared, Filters):
    """Which data set, and which of its pairs train goes without."""


def tfds(*, from_language: From, to_language: To, **settings: Unpack[PreparedPairs]) -> Source:
    """Read pairs of texts from TensorFlow Datasets, whose features have the names of the languages."""
    filters: Filters = {name: settings.pop(name) for name in Filters.__annotations__}
    keys = {SOURCE: "from_language", TARGET: "to_language"}
    tables, origin = load_tfds({SOURCE: from_language, TARGET: to_language}, keys, **settings)
    names = {split: f"{settings['name']} {settings['splits'][split]}" for split in tables}
    pairs = {
        split: [Pair(*map(str.strip, row), f"{names[split]} {number}") for number, row in enumerate(rows)]
        for split, table in tables.items()
        for rows in [zip(table[SOURCE], table[TARGET], strict=True)]
    }
    return _source(pairs, filters, {**_languages(from_language, to_language), **origin}, names)


def _source(
    read: Mapping[str, list[Pair]], filters: Filters, origin: Mapping[str, Any], names: Mapping[str, str]
) -> Source:
    """Leave out of train, or of all, what the rules say, and count it."""
    tables, skipped, counts = {}, [], {}
    for split, pairs in read.items():
        if split in ("all", "train"):
            pairs, skipped, counts = filter_pairs(pairs, **filters)
        if not pairs:
            raise UserError(names[split], "holds no pair of texts that can be used")
        tables[split] = pd.DataFrame({SOURCE: [p.source for p in pairs], TARGET: [p.target for p in pairs]})
    return Source(tables, {**origin, "left_out": counts}, skipped)


def _languages(from_language: str, to_language: str) -> dict[str, str]:
    return {"from_language": from_language, "to_language": to_language}
