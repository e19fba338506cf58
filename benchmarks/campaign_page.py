"""What a campaign or a soak found, and the pages that tell it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from campaign_clean import Checker
from measured import how

MOST_FAULTS = 30
PACKAGES = ("tensorflow", "fastapi", "uvicorn", "grpcio", "gradio")


@dataclass
class Found:
    """What a campaign found."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # of (protocol, kind, answer)
    faults: list[str] = field(default_factory=list)
    live: list[float] = field(default_factory=list)  # seconds
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes
    peak: int = 0  # bytes
    models: list[str] = field(default_factory=list)
    reloads: int = 0
    seconds: float = 0.0


def page(found: Found, checker: Checker, most_mib: int, command: str, conditions: str) -> str:
    """Write what the campaign found."""
    lines = [
        "# Hostile requests",
        "",
        f"{_judged(found)} {found.counts.total():,} answers to hostile requests in"
        f" {found.seconds / 60:.0f} minutes; `/live` took at most {1000 * max(found.live):.0f} ms of"
        f" {len(found.live):,} times; the memory of the server was at most {found.peak >> 20:,} MiB (bound"
        f" {most_mib:,}), {found.memory[0][1] >> 20:,} with the models loaded and {found.memory[-1][1] >> 20:,} at the"
        " end.",
        "",
        *[f"- {fault[:200]}" for fault in found.faults[:MOST_FAULTS]],
        "",
        *_clean_table(checker),
        "",
        "The answers to the hostile requests by protocol:",
        "",
        *_table(found.counts, lambda protocol, kind: protocol, "protocol"),
        "",
        "And by kind:",
        "",
        *_table(found.counts, lambda protocol, kind: f"{protocol}, {kind}", "kind"),
    ]
    lines += how(
        command,
        PACKAGES,
        "Several answers on one connection (pipelining) count each. `closed` is a connection that the server closed"
        " without an answer, `left` one that the client left, `kept open` one of HTTP/2 with nothing to answer",
        f"Models: {_listed(found.models)}",
        conditions,
    )
    return "\n".join(lines)


def _listed(models: list[str]) -> str:
    return ", ".join(filter(None, models))


def _judged(found: Found) -> str:
    if not found.faults:
        return "No fault: no 5xx but 503, all clean requests answered rightly."
    return f"{len(found.faults)} faults."


def _clean_table(checker: Checker) -> list[str]:
    rows = [
        f"| {name} | {tally.right:,} | {tally.refused:,} | {len(tally.wrong):,} |"
        for name, tally in sorted(checker.tallies.items())
    ]
    return ["| clean requests | answered rightly | told to come again | wrong |", "|---|---|---|---|", *rows]


def _table(counts: Counter[tuple[str, str, str]], name: Callable[[str, str], str], head: str) -> list[str]:
    joined: dict[str, Counter[str]] = {}
    for (protocol, kind, answer), count in counts.items():
        joined.setdefault(name(protocol, kind), Counter())[answer] += count
    rows = [
        f"| {each} | {own.total():,} | {', '.join(f'{answer}: {count:,}' for answer, count in sorted(own.items()))} |"
        for each, own in sorted(joined.items())
    ]
    return [f"| {head} | answers | of them |", "|---|---|---|", *rows]


def page_of_soak(
    found: Found, checker: Checker, minutes: float, reload_seconds: float, command: str, conditions: str
) -> str:
    """Write what the soak found."""
    marks = [found.memory[len(found.memory) * part // 10] for part in range(10)] + [found.memory[-1]]
    lines = [
        "# Clean requests for long, with reloads",
        "",
        f"{_judged(found)} {minutes:g} minutes with {found.reloads} new versions; `/live` took at most"
        f" {1000 * max(found.live):.0f} ms of {len(found.live):,} times; the memory of the server was at most"
        f" {found.peak >> 20:,} MiB.",
        "",
        *[f"- {fault[:200]}" for fault in found.faults[:MOST_FAULTS]],
        "",
        *_clean_table(checker),
        "",
        "| minutes | MiB |",
        "|---|---|",
        *(f"| {seconds / 60:.1f} | {held >> 20:,} |" for seconds, held in marks),
    ]
    lines += how(
        command,
        PACKAGES,
        f"Models: {_listed(found.models)}; a new version of one after the other every {reload_seconds:g} s",
        conditions,
    )
    return "\n".join(lines)
