"""Read pairs of texts in two languages, and filter out bad pairs.

TensorFlow Datasets' `TranslateFolder` is not used. It needs uncompressed files with names such as `en.train.txt`. If
two files do not correspond, its error does not name the line.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from pipelines.data.encodings import read_text
from pipelines.data.files import expand_files, unpacked_suffix
from pipelines.data.groups import short_values
from pipelines.data.pairs.checks import pair_warnings, unescape
from pipelines.data.pairs.columns import choose_columns
from pipelines.data.pairs.languages import codes, same_language
from pipelines.data.pairs.tmx import read_tmx
from pipelines.data.records import Table, looks_like_json, read_delimited, read_json, read_tab_separated, text_of
from pipelines.errors import UserError, counted

SOURCE, TARGET = "source", "target"  # columns of a table of pairs
LANGUAGE = "{language}"  # placeholder in a path for the code of either language
TABLES = {
    ".tsv": read_tab_separated,
    ".tab": read_tab_separated,
    ".csv": read_delimited,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
}
MARKUP = ("<?xml", "<!doctype", "<html", "<srcset", "<refset", "<tstset", "<xliff", "<mteval")
Column = Annotated[
    int | str | None,
    Field(description="column of a table, by name or counted from 0 (-1 is the last), or key of a JSON object"),
]


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str
    place: str  # file and line, or file and number of the entry
    groups: Mapping[str, str] = MappingProxyType({})  # its file, and other cells of its row, such as its document


class Filters(TypedDict):
    """Which pairs are removed from train, or from data without splits, besides pairs with an empty side."""

    most_characters: Annotated[int, Field(ge=1, description="pairs with a longer side are removed from train")]
    most_ratio: Annotated[
        float,
        Field(
            ge=1,
            description="largest ratio between the lengths of both sides, after 12 characters are added to each;"
            " pairs above it are badly aligned and are removed from train",
        ),
    ]


@dataclass(frozen=True)
class Reading:
    """How to read files of pairs."""

    source: str  # language code
    target: str
    encoding: str = "utf-8"
    source_column: int | str | None = None
    target_column: int | str | None = None
    unescape: bool = True


@dataclass
class Read:
    """Pairs, and warnings about them."""

    pairs: list[Pair]
    odd: list[str] = field(default_factory=list)


SHORT = 12  # characters added to both sides before their lengths are compared: "no" may well be a whole sentence


def filter_pairs(
    pairs: Iterable[Pair], *, most_characters: int, most_ratio: float
) -> tuple[list[Pair], list[dict[str, str]], dict[str, int]]:
    """Separate good pairs from bad ones.

    Returns the good pairs, the place of each bad pair with the reason, and the number of bad pairs for each reason.
    """
    kept: list[Pair] = []
    skipped: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    for pair in pairs:
        reason = _fault(pair, most_characters, most_ratio)
        if reason is None:
            kept.append(pair)
        else:
            skipped.append({"place": pair.place, "reason": reason})
            counts[reason] += 1
    return kept, skipped, dict(counts)


def _fault(pair: Pair, most_characters: int, most_ratio: float) -> str | None:
    lengths = sorted((len(pair.source), len(pair.target)))
    if lengths[0] == 0:
        return "a side is empty"
    if lengths[1] > most_characters:
        return f"a side is longer than {most_characters} characters"
    if lengths[1] + SHORT > most_ratio * (lengths[0] + SHORT):
        return f"one side is over {most_ratio:g} times as long as the other"
    return None


def list_files(root: Path, names: Sequence[str], how: Reading) -> list[tuple[Path, ...]]:
    """List the files of pairs below a folder: each alone, or two that correspond line by line.

    A name with `{language}` stands for two files, one per language. So do two names of which none is a table. Any other
    name is a file, a pattern such as `part-*.jsonl`, or a folder of tables.

    Raises:
        UserError: If no file matches, or two files are named in the wrong order.
    """
    if len(names) == 2 and not any(_is_table(root / name) or LANGUAGE in name for name in names):
        files = root / names[0], root / names[1]
        _check_order(files, how)
        return [files]
    found: list[tuple[Path, ...]] = []
    for name in names:
        if LANGUAGE in name:
            found.append((_of_language(root / name, how.source), _of_language(root / name, how.target)))
        else:
            found += [(file,) for file in expand_files(str(root), name, [*TABLES, ".tmx"])]
    return found


def _is_table(path: Path) -> bool:
    return unpacked_suffix(path) in {*TABLES, ".tmx"} or path.is_dir() or any(sign in path.name for sign in "*?[")


def read_pairs(root: Path, names: Sequence[str], how: Reading) -> Read:
    """Read pairs from the files that names below a folder stand for; see `list_files`.

    Raises:
        UserError: If a file cannot be read, or is not what its name says. The message names the file.
    """
    files = list_files(root, names, how)
    place = names[0] if len(names) == 1 else f"{names[0]} ..."
    parts = [_of_file(_read_lines(*each, how) if len(each) == 2 else read_one(each[0], how), each[0]) for each in files]
    read = Read([pair for part in parts for pair in part.pairs], [odd for part in parts for odd in part.odd])
    if how.unescape:
        read, count = unescaped(read)
        read.odd += unescape_warnings(count, len(read.pairs), place)
    return Read(read.pairs, read.odd + warnings_of(read.pairs, how, place))


def warnings_of(pairs: Sequence[Pair], how: Reading, place: str) -> list[str]:
    """Return warnings about pairs that look wrong."""
    whole = [pair for pair in pairs if pair.source and pair.target]
    sides = [pair.source for pair in whole], [pair.target for pair in whole]
    return pair_warnings(sides, (how.source, how.target), place)


def _of_file(read: Read, file: Path) -> Read:
    return Read([pair._replace(groups={"file": str(file), **pair.groups}) for pair in read.pairs], read.odd)


def read_one(path: Path, how: Reading) -> Read:
    """Read a file of pairs."""
    kind = unpacked_suffix(path)
    if kind == ".tmx":
        return Read([Pair(*unit) for unit in read_tmx(path, how.source, how.target)])
    text, odd = read_text(path, how.encoding)
    if kind not in TABLES:
        _check_markup(text, path)
        kind = ".jsonl" if looks_like_json(text) else ".tsv" if "\t" in text.lstrip().partition("\n")[0] else kind
    if kind not in TABLES:
        named = ", ".join([*TABLES, ".tmx"])
        mend = f"for two files of lines, set data.path: [a.en, a.fr] or a.{LANGUAGE}"
        raise UserError(str(path), f"is not a supported format ({named}) and has no tabs; {mend}")
    table = TABLES[kind](text, path)
    columns = choose_columns(table, path, (how.source, how.target), (how.source_column, how.target_column))
    return Read(list(pairs_of(table, columns.source, columns.target, columns.header)), [*odd, *columns.odd])


def pairs_of(table: Table, source: int, target: int, header: bool) -> Iterator[Pair]:
    """Yield the pairs in the rows of a table, without the first row if that is a header."""
    names = table.names
    for place, cells in table.rows:
        if header and any(cells):
            header, names = False, cells
            continue
        if not any(cells):
            cells = [""] * (max(source, target) + 1)
        if len(cells) <= max(source, target):
            raise UserError(place, "has no tab between source and target")
        one, other = (_one_line(text_of(cells[side], place)) for side in (source, target))
        record = dict(zip(names or (), cells, strict=False))
        yield Pair(one, other, place, short_values(record, [names[source], names[target]] if names else []))


def _one_line(cell: str) -> str:
    return " ".join(cell.split("\n")).strip()


def _read_lines(source: Path, target: Path, how: Reading) -> Read:
    texts, odd = zip(*(read_text(path, how.encoding) for path in (source, target)), strict=True)
    for path, text in zip((source, target), texts, strict=True):
        check_lines(text, path)
    sides = [[line.strip() for line in text.removesuffix("\n").split("\n")] for text in texts]
    longer, shorter = sorted(sides, key=len, reverse=True)
    while len(longer) > len(shorter) and not longer[-1]:  # empty lines at the end do not count
        longer.pop()
    if len(sides[0]) != len(sides[1]):
        problem = f"has {counted(len(sides[1]), 'line')}, but {source.name} has {len(sides[0]):,}"
        raise UserError(str(target), f"{problem}; make the files correspond line by line")
    pairs = [Pair(one, other, f"{source}:{number}") for number, (one, other) in enumerate(zip(*sides, strict=True), 1)]
    return Read(pairs, [each for part in odd for each in part])


def check_lines(text: str, path: Path) -> None:
    """Check that the lines of a file are single sentences.

    Raises:
        UserError: If they are not.
    """
    _check_markup(text, path)
    if text.count("\t") > text.count("\n") / 2:
        problem = "has tabs in most lines, so its lines are not single sentences"
        raise UserError(str(path), f"{problem}; rename it to .tsv if it contains pairs")


def _check_markup(text: str, path: Path) -> None:
    if text.lstrip()[:20].lower().startswith(MARKUP):
        raise UserError(str(path), "is XML or HTML; extract the texts first, one per line")


def _of_language(path: Path, language: str) -> Path:
    """Return the file of a language, whichever of the language's codes is in the name."""
    named = [Path(str(path).replace(LANGUAGE, code)) for code in codes(language)]
    return next((each for each in named if each.is_file()), named[0])


def _check_order(files: Sequence[Path], how: Reading) -> None:
    """Refuse two files that are named after their languages in reverse order."""
    wrong = [
        file.name
        for file, own, other in zip(files, (how.source, how.target), (how.target, how.source), strict=True)
        if same_language(unpacked_suffix(file)[1:], other) and not same_language(unpacked_suffix(file)[1:], own)
    ]
    if wrong:
        order = f"the file of '{how.source}' first, then '{how.target}'"
        problem = f"the order of the files does not match their names ({', '.join(wrong)}); write {order}"
        raise UserError("data.path", problem)


def unescaped(read: Read) -> tuple[Read, int]:
    """Replace HTML entities by their characters, and return the number of pairs that had some."""
    sides = [(unescape(pair.source).strip(), unescape(pair.target).strip()) for pair in read.pairs]
    pairs = [pair._replace(source=one, target=other) for pair, (one, other) in zip(read.pairs, sides, strict=True)]
    return Read(pairs, read.odd), sum(own != before for own, before in zip(pairs, read.pairs, strict=True))


def unescape_warnings(count: int, of: int, place: str) -> list[str]:
    """Say in how many pairs HTML entities were replaced, if in any."""
    if not count:
        return []
    warning = f"{place}: replaced HTML entities such as &quot; with characters in {count:,} of {of:,} pairs"
    return [f"{warning}; to keep them, set data.unescape: false"]
