"""Where pairs of texts come from: phrases that CLDR knows in many languages, files, TensorFlow Datasets."""

from pathlib import Path
from typing import Annotated, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.pairs import Filters, filter_pairs, read_pairs
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
            " .tsv file with two columns; or a .tmx file. UTF-8, .gz is read too"
        ),
    ],
    **filters: Unpack[Filters],
) -> Source:
    """Read pairs of texts; what train holds beyond the filters' rules is left out and counted."""
    tables, skipped, counts = {}, [], {}
    for split, file in paths_by_split(root, path).items():
        pairs = read_pairs(file, from_language, to_language)
        if split in ("all", "train"):
            pairs, own, counts = filter_pairs(pairs, **filters)
            skipped += own
        if not pairs:
            raise UserError(str(file), "holds no pair of texts that can be used")
        tables[split] = pd.DataFrame({SOURCE: [p.source for p in pairs], TARGET: [p.target for p in pairs]})
    found = {split: str(Path(root) / file) for split, file in paths_by_split(root, path).items()}
    return Source(tables, {**_languages(from_language, to_language), "files": found, "left_out": counts}, skipped)


def tfds(*, from_language: From, to_language: To, **prepared: Unpack[Prepared]) -> Source:
    """Read pairs of texts from TensorFlow Datasets, whose features have the names of the languages."""
    tables, origin = load_tfds({SOURCE: from_language, TARGET: to_language}, **prepared)
    return Source(tables, {**_languages(from_language, to_language), **origin})


def _languages(from_language: str, to_language: str) -> dict[str, str]:
    return {"from_language": from_language, "to_language": to_language}
