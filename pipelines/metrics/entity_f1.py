"""Precision, recall and F1 of whole entities; an entity is correct if its type and both boundaries are.

The results equal those of `seqeval` and, for legal tags, of the CoNLL-2003 script (Tjong Kim Sang & De Meulder 2003).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Entity:
    """An entity of a type at tokens `start` to `stop`, exclusive."""

    start: int
    stop: int
    type: str


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a BIO tag sequence; an I- tag without an open entity of its type starts a new one."""
    found: list[Entity] = []
    begun: tuple[int, str] | None = None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if begun is not None and (prefix != "I" or kind != begun[1]):
            found.append(Entity(begun[0], place, begun[1]))
            begun = None
        if prefix != "O" and begun is None:
            begun = (place, kind)
    return found


def entity_scores(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return precision, recall and f1 over all entities, and per type as `<type>.<metric>`; 0 if undefined."""
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for true_tags, predicted_tags in zip(true, predicted, strict=True):
        actual, answered = entities(true_tags), entities(predicted_tags)
        wanted.update(entity.type for entity in actual)
        given.update(entity.type for entity in answered)
        right.update(entity.type for entity in set(actual) & set(answered))
    scores = _scores(right.total(), given.total(), wanted.total())
    for kind in sorted({*wanted, *given}):
        scores |= {f"{kind}.{name}": value for name, value in _scores(right[kind], given[kind], wanted[kind]).items()}
    return scores


def _scores(right: int, given: int, wanted: int) -> dict[str, float]:
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
