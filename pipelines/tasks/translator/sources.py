"""Sources of text pairs: generated phrases, files and TensorFlow Datasets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.conversion import LARGE_FACTS, is_large
from pipelines.data.fields import Fields
from pipelines.data.files import Root, Split, names_by_split
from pipelines.data.groups import groups_of
from pipelines.data.pairs.languages import parts_words
from pipelines.data.pairs.large import LargePairs, large_pairs
from pipelines.data.pairs.read import (
    SOURCE,
    TARGET,
    Column,
    Filters,
    Pair,
    Reading,
    filter_pairs,
    list_files,
    read_pairs,
)
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.encoding import Encoding
from pipelines.errors import UserError
from pipelines.tasks.translator.phrases import make_phrases
from pipelines.tasks.translator.scores import about_tokens

FIELDS = Fields("text", [SOURCE], TARGET, "text")
DESCRIBED = 2_000  # pairs of data that is larger than memory, from which its lengths and its units are told
Names = Annotated[list[str], Field(min_length=1)]
From = Annotated[str, Field(description="source language, such as en")]
To = Annotated[str, Field(description="target language, such as fr")]


def embedded(
    *,
    from_language: From,
    to_language: To,
    examples: Annotated[
        int, Field(ge=100, le=1000000, description="number of pairs, of which four fifths are for training")
    ],
) -> Source:
    """Generate phrases with CLDR (from Babel) and num2words.

    The phrases contain dates, times, amounts, numbers in words, and names of countries and languages. Dates, times and
    numbers in validation and test never occur in train, but names do.
    """
    splits, origin = make_phrases(from_language, to_language, examples)
    tables = {split: pd.DataFrame(pairs, columns=[SOURCE, TARGET]) for split, pairs in splits.items()}
    return Source(tables, {**_languages(from_language, to_language), **origin})


def files(
    *,
    from_language: From,
    to_language: To,
    root: Root = ".",
    path: Annotated[
        str | Names | dict[Split, str | Names],
        Field(
            description="files of all pairs, or of each split: two files with one text per line, as [corpus.en,"
            " corpus.fr] or corpus.{language}; or files of pairs, a pattern such as part-*.jsonl, or a folder: .tsv,"
            " .csv, .jsonl, .json or .tmx. Files may be compressed (.gz)"
        ),
    ],
    encoding: Encoding = "utf-8",
    source_column: Column = None,
    target_column: Column = None,
    unescape: Annotated[
        bool, Field(description="replace HTML entities, such as &quot;, with the characters they stand for")
    ] = True,
    **filters: Unpack[Filters],
) -> Source:
    """Read text pairs from files. The filters drop pairs from train, or from a file that is not split yet."""
    how = Reading(from_language, to_language, encoding, source_column, target_column, unescape)
    names = names_by_split(path)
    listed = {split: list_files(Path(root), each, how) for split, each in names.items()}
    found = {split: ", ".join(str(file) for files in each for file in files) for split, each in listed.items()}
    origin = {**_languages(from_language, to_language), "files": found}
    if is_large(file for each in listed.values() for files in each for file in files):
        return _large_source(large_pairs(listed, how, filters, FIELDS), origin)
    read = {split: read_pairs(Path(root), each, how) for split, each in names.items()}
    odd = list(dict.fromkeys(each for part in read.values() for each in part.odd))
    return _source({split: part.pairs for split, part in read.items()}, filters, origin, found, odd)


def _large_source(read: LargePairs, origin: Mapping[str, Any]) -> Source:
    """Return pairs in files as a source."""
    examples = read.examples
    table = next(iter(examples.tables.values()))
    some = table.iloc[:: -(-len(table) // DESCRIBED)]
    facts = _facts(some, origin["from_language"], origin["to_language"])
    facts |= _removed(read.counts) | LARGE_FACTS
    origin = {**origin, "left_out": read.counts}
    return Source(
        dict(examples.tables),
        origin,
        read.skipped,
        warnings=read.odd,
        facts=facts,
        places=dict(examples.places),
        hashes=dict(examples.hashes),
        groups=dict(examples.groups),
    )


def _removed(counts: Mapping[str, int]) -> dict[str, str]:
    return {"removed": "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())} if counts else {}


class PreparedPairs(Prepared, Filters):
    """Settings of the data set and of the filters on its training pairs."""


def tfds(*, from_language: From, to_language: To, **settings: Unpack[PreparedPairs]) -> Source:
    """Read text pairs from TensorFlow Datasets. The features are named after the languages."""
    filters: Filters = {"most_characters": settings["most_characters"], "most_ratio": settings["most_ratio"]}
    tables, origin = load_tfds(
        {SOURCE: from_language, TARGET: to_language},
        {SOURCE: "from_language", TARGET: "to_language"},
        name=settings["name"],
        data_dir=settings["data_dir"],
        download=settings["download"],
        splits=settings["splits"],
    )
    names: dict[str, str] = {split: f"{settings['name']} {part}" for split, part in settings["splits"].items()}
    pairs = {
        split: [
            Pair(source.strip(), target.strip(), f"{names[split]} {number}")
            for number, (source, target) in enumerate(zip(table[SOURCE], table[TARGET], strict=True))
        ]
        for split, table in tables.items()
    }
    return _source(pairs, filters, {**_languages(from_language, to_language), **origin}, names)


def _source(
    read: Mapping[str, list[Pair]],
    filters: Filters,
    origin: Mapping[str, Any],
    names: Mapping[str, str],
    odd: Sequence[str] = (),
) -> Source:
    """Apply the filters to train, or to pairs that are not split yet, and count the dropped pairs."""
    tables: dict[str, pd.DataFrame] = {}
    places: dict[str, Sequence[str]] = {}
    groups: dict[str, dict[str, Sequence[str]]] = {}
    skipped: list[dict[str, str]] = []
    counts: dict[str, int] = {}
    for split, pairs in read.items():
        if split in ("all", "train"):
            pairs, skipped, counts = filter_pairs(pairs, **filters)
        if not pairs:
            raise UserError(names[split], "contains no usable text pairs")
        places[split] = [p.place for p in pairs]
        groups[split] = groups_of([p.groups for p in pairs])
        tables[split] = pd.DataFrame({SOURCE: [p.source for p in pairs], TARGET: [p.target for p in pairs]})
    facts = _facts(next(iter(tables.values())), origin["from_language"], origin["to_language"])
    facts |= _removed(counts)
    origin = {**origin, "left_out": counts}
    return Source(tables, origin, skipped, warnings=list(odd), facts=facts, places=places, groups=groups)


def _facts(table: pd.DataFrame, from_language: str, to_language: str) -> dict[str, str]:
    """Describe the length of both sides, and the units of BLEU if the target language has no spaces."""
    lengths = [f"{median(table[side].map(len)):,.0f}" for side in (SOURCE, TARGET)]
    facts = {"lengths": f"median {lengths[0]} characters in {from_language}, {lengths[1]} in {to_language}"}
    joined = [
        language
        for side, language in ((SOURCE, from_language), (TARGET, to_language))
        if not parts_words(table[side].tolist())
    ]
    if joined:
        level = "do not set preprocessing.level to word or token"
        facts["words"] = f"not separated by spaces in {' and '.join(joined)}; {level}"
    return facts | about_tokens(table[TARGET].tolist())


def _languages(from_language: str, to_language: str) -> dict[str, str]:
    return {"from_language": from_language, "to_language": to_language}
