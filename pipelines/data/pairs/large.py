"""Convert pairs that are larger than memory to examples in files, in one pass, once for each content."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd

from pipelines.data.blocks import LINES, blocks
from pipelines.data.conversion import (
    ExamplePart,
    StoredExamples,
    converted,
    finish_split,
    map_units,
    open_examples,
    write_unit,
)
from pipelines.data.encodings import read_lines
from pipelines.data.fields import Fields
from pipelines.data.files import unpacked_suffix
from pipelines.data.pairs.columns import choose_columns
from pipelines.data.pairs.read import (
    SOURCE,
    TABLES,
    TARGET,
    Filters,
    Pair,
    Read,
    Reading,
    check_lines,
    filter_pairs,
    pairs_of,
    read_one,
    unescape_warnings,
    unescaped,
    warnings_of,
)
from pipelines.data.records import quotes_cells
from pipelines.errors import UserError, counted
from pipelines.storage import write_json

KINDS = {SOURCE: "sentence", TARGET: "sentence"}
BY_LINE = (".jsonl", ".ndjson", ".tsv", ".tab")  # suffixes of tables with one pair per line

Files = tuple[Path, ...]  # a file of pairs, or two files that correspond line by line


@dataclass(frozen=True)
class Work:
    """The pairs of some files of a split, which one process converts."""

    files: Files
    split: str
    number: int  # among those of the split
    how: Reading
    filters: Filters
    fields: Fields


@dataclass
class LargePairs:
    """Pairs in files by split, and what was found about them."""

    examples: StoredExamples = field(default_factory=StoredExamples)
    skipped: list[dict[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # reason -> pairs that were left out for it
    odd: list[str] = field(default_factory=list)


def large_pairs(listed: Mapping[str, Sequence[Files]], how: Reading, filters: Filters, fields: Fields) -> LargePairs:
    """Return pairs in files in the user's cache folder, converted once for each content of the given files.

    Pairs of train, or of files that are not split yet, are filtered. Only the first pairs of a split are checked for
    what looks wrong.

    Raises:
        UserError: If a file cannot be read, or has no usable pairs.
    """
    found = {split: [file for files in each for file in files] for split, each in listed.items()}
    work = [
        Work(files, split, number, how, filters, fields)
        for split, each in listed.items()
        for number, files in enumerate(each)
    ]
    settings = [asdict(how), dict(filters)]
    folder = converted("pairs", found, settings, lambda whole: _convert(whole, work))
    names = {split: [str(files[0]) for files in each] for split, each in listed.items()}
    return LargePairs(open_examples(folder, names), **json.loads((folder / "about.json").read_text(encoding="utf-8")))


def _convert(folder: Path, work: Sequence[Work]) -> None:
    read, counts = LargePairs(), Counter[str]()
    for skipped, each, odd in map_units(partial(_convert_files, folder), work):
        read.skipped += skipped
        read.odd += odd
        counts.update(each)
    for split in dict.fromkeys(each.split for each in work):
        own = [each for each in work if each.split == split]
        if not finish_split(folder / split, len(own), KINDS):
            raise UserError(str(own[0].files[0]), "contains no usable text pairs")
    write_json(folder / "about.json", {"skipped": read.skipped, "counts": counts, "odd": list(dict.fromkeys(read.odd))})


def _convert_files(folder: Path, work: Work) -> tuple[list[dict[str, str]], dict[str, int], list[str]]:
    """Write the pairs of some files; return the pairs that were left out, their number by reason, and warnings."""
    skipped: list[dict[str, str]] = []
    odd: list[str] = []
    counts: Counter[str] = Counter()
    replaced = total = 0

    def parts() -> Iterator[ExamplePart]:
        nonlocal replaced, total
        for read in _read_parts(work.files, work.how):
            if work.how.unescape:
                read, count = unescaped(read)
                replaced += count
            if not work.number and not total:
                odd.extend(warnings_of(read.pairs, work.how, str(work.files[0])))
            total += len(read.pairs)
            odd.extend(read.odd)
            pairs = read.pairs
            if work.split in ("all", "train"):
                pairs, bad, reasons = filter_pairs(pairs, **work.filters)
                skipped.extend(bad)
                counts.update(reasons)
            frame = pd.DataFrame({SOURCE: [p.source for p in pairs], TARGET: [p.target for p in pairs]}, dtype="str")
            yield ExamplePart(frame, [_line(pair) for pair in pairs])

    write_unit(parts(), folder / work.split, work.number, KINDS, work.fields)
    return skipped, dict(counts), odd + unescape_warnings(replaced, total, str(work.files[0]))


def _line(pair: Pair) -> int:
    """Return the line of a pair, or its number in a file that has none."""
    match = re.search(r"\d+$", pair.place)
    return int(match[0]) if match else 0


def _read_parts(files: Files, how: Reading) -> Iterator[Read]:
    if len(files) == 2:
        yield from _lines(files[0], files[1], how)
    elif unpacked_suffix(files[0]) in BY_LINE:
        yield from _tables(files[0], how)
    else:
        yield read_one(files[0], how)


def _lines(source: Path, target: Path, how: Reading) -> Iterator[Read]:
    texts = [read_lines(path, how.encoding) for path in (source, target)]
    before = 0
    while any(sides := [list(islice(lines, LINES)) for lines in texts]):
        for path, lines in zip((source, target), sides, strict=True):
            check_lines("".join(lines), path)
        count = min(map(len, sides))
        pairs = zip(*([line.strip() for line in lines[:count]] for lines in sides), strict=True)
        yield Read([Pair(one, other, f"{source}:{before + n}") for n, (one, other) in enumerate(pairs, 1)])
        before += count
        if len(sides[0]) != len(sides[1]):
            at = int(len(sides[1]) > count)
            rest = [*sides[at][count:], *texts[at]]
            if any(line.strip() for line in rest):  # empty lines at the end do not count
                total = counted(before + len(rest), "line")
                problem = f"has {before:,} lines, but {(source, target)[at].name} has {total}"
                raise UserError(str((target, source)[at]), f"{problem}; make the files correspond line by line")
            return


def _tables(path: Path, how: Reading) -> Iterator[Read]:
    """Yield the pairs of a table of lines; the first block decides which columns they are in."""
    languages, wanted = (how.source, how.target), (how.source_column, how.target_column)
    columns = None
    for block in blocks(path, how.encoding):
        if (
            not block.before
            and "\t" in block.text
            and quotes_cells(line.split("\t") for line in block.text.split("\n"))
        ):
            yield read_one(path, how)  # because a cell may hold a line break
            return
        with block.reading():
            table = TABLES[unpacked_suffix(path)](block.text, path)
            if columns is None or table.names:
                columns = choose_columns(table, path, languages, wanted)
            header = columns.header and not block.before
            pairs = list(pairs_of(table, columns.source, columns.target, header))
        if table.names:  # objects of another block may have their keys in another order
            wanted = table.names[columns.source], table.names[columns.target]
        yield Read(
            [pair._replace(place=block.shift(pair.place)) for pair in pairs], [] if block.before else columns.odd
        )
