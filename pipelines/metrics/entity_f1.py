"""Precision, recall and F1 of whole entities: an entity counts where its type and both its ends are right.

The figures are those of `seqeval` and, for legal tags, of the CoNLL-2003 script (Tjong Kim Sang & De Meulder 2003).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Entity:
    """Tokens `start` to `stop`, exclusive, that name something of a type."""

    start: int
    stop: int
    type: str


def entities(tags: Sequence[str]) -> list[Entity]:
    """Read the entities off a BIO sequence; an I- that goes on from nothing of its type begins one."""
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
    """Give precision, recall and f1 of all entities together, then of each type as `<type>.f1`; 0 where undefined."""
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
