"""Read tagged sentences from JSON: tokens with tags, or texts with entities as character offsets."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.data.groups import short_values
from pipelines.data.sentences.sentence import Sentence, TaggedFile, drop_blank_tokens, length_notes
from pipelines.errors import UserError, counted

TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "label", "ner", "ner_labels", "bio")
TEXT = ("text", "data", "sentence", "content")
SPANS = ("entities", "spans", "label", "labels", "annotations")  # spaCy, Prodigy, doccano
RECORDS = ("data", "examples", "annotations", "train", "documents", "rows")  # keys that hold the list of all records
FORMS = '{"tokens": [...], "ner_tags": [...]} or {"text": "...", "entities": [[start, end, "PER"], ...]}'
CUT = "texts, split into tokens by data.token_pattern"
BY_CHARACTER = "entities, as character offsets"

Tokenize = Callable[[list[str]], list[tuple[list[str], list[int]]]]  # texts -> for each, its tokens and their offsets


class Span(NamedTuple):
    """An entity of a text, as character offsets; the stop is exclusive."""

    start: int
    stop: int
    type: str


@dataclass(frozen=True)
class TaggedText:
    """A text, its entities, its tokens and their offsets if the source gives them, and its place."""

    text: str
    spans: list[Span]
    tokens: tuple[list[str], list[int]] | None
    place: str
    groups: dict[str, str] = field(default_factory=dict)


def looks_like_json(text: str) -> bool:
    """Return whether a text is JSON or JSON lines, with an object or a list first."""
    first = text.lstrip()
    if not first.startswith(("{", "[")):
        return False
    for part in (first.split("\n", 1)[0], first):
        try:
            return isinstance(json.loads(part), dict | list)
        except (ValueError, RecursionError):
            continue
    return first.startswith('{"') or first.startswith('[{"')


def read_json(path: Path, text: str, tokenize: Tokenize, by_line: bool = False) -> TaggedFile:
    """Read the records of spaCy, Prodigy, doccano or Hugging Face; `by_line` means that each line is known to hold one.

    `tokenize` splits the texts for which the file gives no tokens.

    Raises:
        UserError: If a line or record is not JSON, or its format is not known. The message names the line or record.
    """
    sentences: list[Sentence | TaggedText] = []
    skipped: list[dict[str, str]] = []
    keys: dict[str, str] = {}
    for place, record in _lines(path, text) if by_line else _records(path, text):
        if record.get("answer", "accept") != "accept":
            skipped.append({"place": place, "reason": f"its answer is '{record['answer']}'"})
            continue
        sentence, used = _read(record, place)
        sentences.append(replace(sentence, groups=short_values(record, used)))
        keys |= used
    texts = [each for each in sentences if isinstance(each, TaggedText) and each.tokens is None]
    found = iter(tokenize([each.text for each in texts]) if texts else [])
    tagged = [each if isinstance(each, Sentence) else _align(each, *(each.tokens or next(found))) for each in sentences]
    empty = [each for each in tagged if not each.tokens]
    tagged = [each for each in tagged if each.tokens]
    if not tagged:
        raise UserError(str(path), "contains no sentences")
    notes = [f"skipped {counted(len(empty), 'record')} without tokens (first: {empty[0].source})"] if empty else []
    return TaggedFile(tagged, keys, notes + length_notes(tagged, "split such texts into sentences"), skipped)


def _records(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record and its place: the line in JSON lines, otherwise the number of the record."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            yield from _lines(path, text)
            return
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line}", f"is not valid JSON ({_reason(error)})") from None
    if isinstance(whole, dict) and not _first(whole, (*TOKENS, "text"), list | str):
        whole = next((whole[key] for key in RECORDS if isinstance(whole.get(key), list)), [whole])
    for number, record in enumerate(whole if isinstance(whole, list) else [whole], start=1):
        yield f"{path}, record {number}", _as_object(record, f"{path}, record {number}")


def _lines(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", _as_object(json.loads(line), f"{path}:{number}")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}", f"is not valid JSON ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return getattr(error, "msg", None) or "nested too deeply"


def _as_object(record: Any, place: str) -> dict[str, Any]:
    if isinstance(record, list) and len(record) == 2 and isinstance(record[1], dict):  # spaCy 2 writes [text, {...}]
        record = {"text": record[0], **record[1]}
    if not isinstance(record, dict):
        raise UserError(place, f"is not a JSON object, but of type {type(record).__name__}; write {FORMS}")
    return record


def _first(record: Mapping[str, Any], keys: Sequence[str], kind: Any, of: Any = object) -> str | None:
    """Return the first key whose value has type `kind` and, if it is a list, only values of type `of`."""
    fitting = (key for key in keys if isinstance(record.get(key), kind))
    return next((key for key in fitting if kind is not list or all(isinstance(each, of) for each in record[key])), None)


def _read(record: dict[str, Any], place: str) -> tuple[Sentence | TaggedText, dict[str, str]]:
    text = _first(record, TEXT, str)
    tokens, tags = _first(record, TOKENS, list, str), _first(record, TAGS, list, str | int)
    if text is not None:
        _check_characters([record[text]], place)
    if tokens is not None and tags is not None and (record[tags] or not record[tokens]):
        _check_characters(record[tokens], place)
        kept = drop_blank_tokens(record[tokens], _tags(record[tags], f"{place}, {tags}"), place)
        return Sentence(*kept, place), {tokens: "tokens", tags: "tags"}
    if text is not None and tags is not None and record[tags]:
        kept = drop_blank_tokens(record[text].split(), _tags(record[tags], f"{place}, {tags}"), place)
        return Sentence(*kept, place), {text: "tokens, between blanks", tags: "tags"}
    spans = _first(record, SPANS, list)
    if text is None or (spans is None and "_input_hash" not in record):  # Prodigy omits empty lists
        raise UserError(place, f"cannot be read from the keys {', '.join(map(str, record)) or '(none)'}; write {FORMS}")
    found = [_span(entity, record[text], f"{place}, {spans}") for entity in (record[spans] if spans else [])]
    own = _own_tokens(record["tokens"], record[text], f"{place}, tokens") if record.get("tokens") else None
    return TaggedText(record[text], found, own, place), {
        text: CUT if own is None else "texts",
        spans or "spans": BY_CHARACTER,
    }


def _check_characters(texts: Sequence[str], place: str) -> None:
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise UserError(place, "contains an unpaired Unicode surrogate; write the file as UTF-8")


def _tags(tags: list[Any], where: str) -> list[str]:
    """Convert tags to strings. Numbers are replaced by their names later."""
    if any(isinstance(tag, bool) for tag in tags):
        raise UserError(where, "contains true or false, which is not a tag")
    return [str(tag).strip() for tag in tags]


def _own_tokens(tokens: list[Any], text: str, where: str) -> tuple[list[str], list[int]]:
    """Return the tokens of a record, as Prodigy or as a plain list writes them, and their offsets."""
    found: list[tuple[str, int]] = []
    for token in tokens:
        if isinstance(token, dict):
            start, stop = token.get("start"), token.get("end")
        elif isinstance(token, str):
            start = text.find(token, found[-1][1] + len(found[-1][0]) if found else 0)
            stop = start + len(token)
        else:
            start = stop = None
        if type(start) is not int or type(stop) is not int or not 0 <= start < stop <= len(text):
            raise UserError(where, f"{json.dumps(token)[:60]} is not part of the text, or has no start and end")
        found.append((text[start:stop], start))
    kept = [(token, start) for token, start in found if token.strip()]
    return [token for token, _ in kept], [start for _, start in kept]


def _span(entity: Any, text: str, where: str) -> Span:
    if isinstance(entity, list | tuple) and len(entity) >= 3:
        start, stop, kind = entity[:3]
    elif isinstance(entity, dict):
        start, stop = (next((entity[key] for key in keys if key in entity), None) for keys in (STARTS, STOPS))
        kind = next((entity[key] for key in KINDS if key in entity), None)
        kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    else:
        raise UserError(
            where, f"{json.dumps(entity)[:60]} is not an entity; write [start, end, type], or an object with these keys"
        )
    if type(start) is not int or type(stop) is not int or not isinstance(kind, str) or not kind.strip():
        shown = json.dumps(entity, ensure_ascii=False)[:80]
        raise UserError(where, f"{shown} is not an entity; write whole numbers as start and end, and a text as type")
    if not 0 <= start < stop <= len(text):
        fault = f"are outside the text ({counted(len(text), 'character')})" if start < stop else "contain no character"
        raise UserError(where, f"entity offsets {start} to {stop} {fault}")
    own = entity.get("text") if isinstance(entity, dict) else None
    if isinstance(own, str) and own.strip() != text[start:stop].strip():
        problem = f"'{own}' should be at {start} to {stop}, but the text there is '{text[start:stop]}'"
        raise UserError(where, f"{problem}; count characters (Unicode code points) from 0, with the end exclusive")
    return Span(start, stop, kind.strip())


STARTS = ("start", "start_offset", "begin", "start_char")
STOPS = ("end", "end_offset", "stop", "end_char")
KINDS = ("label", "type", "entity", "tag", "entity_group", "labels")


def _align(tagged: TaggedText, tokens: list[str], starts: list[int]) -> Sentence:
    """Convert the entities of a text to BIO tags of its tokens.

    An entity is widened to whole tokens. If entities overlap, the longest one is kept.
    """
    tags, lost = ["O"] * len(tokens), 0
    faults: dict[int, str] = {}
    stops = [start + len(token) for start, token in zip(starts, tokens, strict=True)]
    for span in sorted(set(tagged.spans), key=lambda span: (span.start - span.stop, span)):
        within = [at for at in range(len(tokens)) if starts[at] < span.stop and stops[at] > span.start]
        entity = f"'{tagged.text[span.start : span.stop]}' ({span.type}, {span.start} to {span.stop})"
        problem = None
        if not within:
            problem = f"{entity} contains no token"
        elif any(tags[at] != "O" for at in within):
            problem = f"{entity} overlaps with another entity: the longer one is kept"
        if problem:
            lost += 1
        else:
            for at in within:
                tags[at] = f"{'B' if at == within[0] else 'I'}-{span.type}"
            cut = [at for at in within if starts[at] < span.start or stops[at] > span.stop]
            problem = f"{entity} splits the token '{tokens[cut[0]]}': extended to the whole token" if cut else None
        if problem:
            at = within[0] if within else 0
            faults[at] = f"{faults[at]}; {problem}" if at in faults else problem
    return Sentence(tokens, tags, tagged.place, is_bio=True, faults=faults, lost=lost, groups=tagged.groups)
