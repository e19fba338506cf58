"""Write a config that leaves out what an audit found."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipelines.audit.findings import KINDS, Finding
from pipelines.build import settings
from pipelines.config.read import Unresolved

if TYPE_CHECKING:
    from pipelines.data.rows import Place

EXCLUSIVE = ("group", "time", "stratify")  # settings of `split` that cannot be combined


def fixed_config(unresolved: Unresolved, findings: Sequence[Finding], source: Callable) -> str:
    """Return the config as YAML, with faulty examples in `data.exclude`, and faulty columns in `data.ignore`.

    Each entry has a comment with the reason. Only examples of train are left out because of their labels. A source
    without `ignore` keeps its columns.
    """
    document = unresolved.document
    data = document["data"]
    excluded = {place.id: finding for finding in findings for place in _left_out(finding)}
    _add(data, "exclude", {id: f"{finding.kind}: {_places(finding)}" for id, finding in excluded.items()})
    if "ignore" in settings(source).model_fields:
        named = [finding for finding in findings if KINDS[finding.kind].fix == "ignore"]
        _add(data, "ignore", {finding.column: f"{finding.kind}: {finding.about}" for finding in named})
    for finding in findings:
        setting = KINDS[finding.kind].fix
        if setting in ("group", "time") and not any(document["split"].get(each) for each in EXCLUSIVE):
            document["split"][setting] = finding.column
            document["split"].yaml_add_eol_comment(f"{finding.kind}: {finding.about}", setting)
    return unresolved.to_yaml()


def _left_out(finding: Finding) -> Iterator["Place"]:
    """Yield the examples of a finding to leave out."""
    if KINDS[finding.kind].fix != "exclude" or finding.place is None:
        return
    if KINDS[finding.kind].family == "duplicates":
        yield finding.place
        return
    for place in (finding.place, finding.other):
        if place is not None and place.split == "train":
            yield place


def _places(finding: Finding) -> str:
    places = [str(place) for place in (finding.place, finding.other) if place is not None]
    return " and ".join(places)


def _add(section: CommentedMap, key: str, entries: dict[str, str]) -> None:
    """Add entries that a list of the config does not have yet, each with a comment."""
    known = section.get(key) or []
    new = {entry: why for entry, why in entries.items() if entry not in known}
    if not new:
        return
    items = CommentedSeq([*known, *new])
    for number, why in enumerate(new.values(), len(known)):
        items.yaml_add_eol_comment(" ".join(why.split()), number)
    section.fa.set_block_style()  # comments do not fit into {...}
    section[key] = items
