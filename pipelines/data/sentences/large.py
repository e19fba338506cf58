"""Convert tagged sentences that are larger than memory to examples in files, once for each content.

The files are read twice: the tags of all sentences decide how they are written, before the first sentence is converted.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipelines.data.blocks import Block, blocks
from pipelines.data.conversion import (
    ExamplePart,
    StoredExamples,
    converted,
    finish_split,
    map_units,
    open_examples,
    write_unit,
)
from pipelines.data.fields import Fields
from pipelines.data.files import unpacked_suffix
from pipelines.data.sentences.annotations import Tokenize
from pipelines.data.sentences.bio import TAGS, TOKENS, as_bio
from pipelines.data.sentences.files import JSON, read_tagged, read_tagged_text
from pipelines.data.sentences.headers import ColumnRules, is_header
from pipelines.data.sentences.lines import find_delimiter, read_rows
from pipelines.data.sentences.schemes import Scheme, detect_scheme
from pipelines.data.sentences.sentence import Sentence, TaggedFile
from pipelines.data.sentences.spelling import read_spelling
from pipelines.errors import UserError
from pipelines.storage import write_json

KINDS = {TOKENS: "tokens", TAGS: "tokens"}
DETECTED_FROM = 10_000  # sentences, the first ones of all files, whose tags decide on the scheme
BY_LINE = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class TagRules:
    """How tags are read."""

    scheme: Scheme | Literal["detect"]
    bad_tags: str
    names: Sequence[str]  # of tags that are numbers


@dataclass(frozen=True)
class Work:
    """The sentences of a file of a split, which one process converts."""

    file: Path
    split: str
    number: int  # among those of the split
    rules: ColumnRules
    encoding: str
    tokenize: Tokenize
    fields: Fields


@dataclass
class LargeSentences:
    """Sentences in files by split, and what was found about them."""

    scheme: Scheme
    examples: StoredExamples = field(default_factory=StoredExamples)
    faulty: list[dict[str, str]] = field(default_factory=list)
    lost: int = 0  # entities that could not be kept
    entities: int = 0  # tokens with a tag that is not O
    skipped: list[dict[str, str]] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def large_sentences(work: Sequence[Work], rules: TagRules, settings: Any) -> LargeSentences:
    """Return sentences in files in the user's cache folder, converted once for each content of the given files.

    `settings` are all that decides on how the files are read.

    Raises:
        UserError: If a file or a tag cannot be read.
    """
    found: dict[str, list[Path]] = {}
    for each in work:
        found.setdefault(each.split, []).append(each.file)
    folder = converted("sentences", found, [settings, asdict(rules)], lambda whole: _convert(whole, work, rules))
    names = {split: [str(file) for file in files] for split, files in found.items()}
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return LargeSentences(examples=open_examples(folder, names), **about)


def refuse_faults(faulty: Sequence[Mapping[str, str]], entities: int, bad_tags: str) -> None:
    """Refuse invalid tags, unless the config says what to do with them, and data without entities.

    Raises:
        UserError: If there are any, or no tag is an entity's.
    """
    if faulty and bad_tags == "error":
        more = f" (and {len(faulty) - 1} more)" if len(faulty) > 1 else ""
        hint = "fix it, set another data.scheme, or set data.bad_tags: repair or skip"
        raise UserError(faulty[0]["place"], f"{faulty[0]['reason']}{more}; {hint}")
    if not entities:
        raise UserError("data", "all tags are O; check that data.tag_column is the column of the tags")


def _convert(folder: Path, work: Sequence[Work], rules: TagRules) -> None:
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    sample: list[list[str]] = []
    for own, first, some in map_units(partial(_count_tags, DETECTED_FROM // len(work) + 1), work):
        counts.update(own)
        places = first | places
        sample += some
    spelling = read_spelling(counts, rules.scheme, rules.names, lambda tag: places.get(tag, "data"))
    scheme = rules.scheme
    if scheme == "detect":
        spelled = [[spelling.tags[tag] for tag in tags] for tags in sample]
        scheme = detect_scheme(spelled) if spelled else "bio"
    read = LargeSentences(scheme)
    for found in map_units(partial(_convert_file, folder, spelling.tags, scheme, rules.bad_tags), work):
        read.faulty += found.faulty
        read.lost += found.lost
        read.entities += found.entities
        read.skipped += found.skipped
        read.columns |= found.columns
        read.notes += found.notes
    refuse_faults(read.faulty, read.entities, rules.bad_tags)
    read.notes = list(dict.fromkeys([*read.notes, *spelling.notes]))
    for split in dict.fromkeys(each.split for each in work):
        finish_split(folder / split, sum(each.split == split for each in work), KINDS)
    about = {name: value for name, value in vars(read).items() if name != "examples"}
    write_json(folder / "about.json", about)


def _count_tags(most: int, work: Work) -> tuple[Counter[str], dict[str, str], list[list[str]]]:
    """Return how often each tag occurs in a file, where it does first, and the tags of the first sentences."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    sample: list[list[str]] = []
    for file in _read_parts(work):
        for sentence in file.sentences:
            if sentence.is_bio:
                continue
            for at, tag in enumerate(sentence.tags):
                if tag not in counts:
                    places[tag] = sentence.place(at)
                counts[tag] += 1
            if len(sample) < most:
                sample.append(sentence.tags)
    return counts, places, sample


def _convert_file(folder: Path, spelled: dict[str, str], scheme: Scheme, bad_tags: str, work: Work) -> LargeSentences:
    read = LargeSentences(scheme)

    def parts() -> Iterator[ExamplePart]:
        for part in _read_parts(work):
            if not read.columns:
                read.columns = part.columns
                read.notes += [f"{work.file}: {note}" for note in dict.fromkeys(part.notes)]
            read.skipped += part.skipped
            rows, lines = [], []
            for sentence in part.sentences:
                row, faults, lost = as_bio(sentence, spelled, scheme, bad_tags)
                read.faulty += faults
                read.lost += lost
                if row is not None:
                    rows.append(row)
                    lines.append(_line(sentence))
                    read.entities += sum(tag != "O" for tag in row[TAGS])
            yield ExamplePart(pd.DataFrame(rows, columns=[TOKENS, TAGS]), lines)

    write_unit(parts(), folder / work.split, work.number, KINDS, work.fields)
    return read


def _line(sentence: Sentence) -> int:
    number = sentence.place(0).rpartition(":")[2].rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0


def _read_parts(work: Work) -> Iterator[TaggedFile]:
    """Yield the sentences of a file some at a time, if it is JSON Lines, or has blank lines between them."""
    path, kind = work.file, unpacked_suffix(work.file)
    if kind in JSON and kind not in BY_LINE:
        yield read_tagged(path, work.rules, work.encoding, work.tokenize)
        return
    header = ""
    for block in blocks(path, work.encoding, lambda line: kind in BY_LINE or not line.strip()):
        if block.before and not block.text.strip():
            continue
        if kind not in BY_LINE and not block.before:
            header = _header(block, work.rules)
        if block.before and header:
            block = Block(path, header + block.text, block.before - 1)
        with block.reading():
            file = read_tagged_text(path, block.text, work.rules, work.tokenize, kind in BY_LINE)
        yield replace(
            file,
            sentences=[_shifted(sentence, block) for sentence in file.sentences],
            skipped=[{**each, "place": block.shift(each["place"])} for each in file.skipped],
        )


def _header(block: Block, rules: ColumnRules) -> str:
    """Return the line that names the columns, if there is one, so that it can be put before every block."""
    delimiter, text = find_delimiter(block.text, unpacked_suffix(block.path), rules)
    rows = [row for row in islice(read_rows(block.path, text, delimiter), 1000) if row.cells]
    rows = [row for row in rows if not row.cells[0].startswith("#")]
    if not rows or not is_header(rows[0].cells, [row.cells for row in rows[1:]], rules):
        return ""
    return block.text.split("\n")[rows[0].line - 1] + "\n"


def _shifted(sentence: Sentence, block: Block) -> Sentence:
    lines = [line + block.before for line in sentence.lines]
    return replace(sentence, lines=lines, source=block.shift(sentence.source))
