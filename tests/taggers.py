"""Tagged sentences in a file, and a small config on it."""

from pathlib import Path

from tiny import TRACED_ONCE

CONFIG = Path(__file__).parents[1] / "configs" / "entity_tagger.yaml"


def write_conll(path: Path, count: int = 90) -> Path:
    """Sentences in which the word before a name tells what it is."""
    people, places = ("Ann", "Bob Lee", "Eve", "Dan Ng"), ("Rome", "New York", "Oslo")
    lines = []
    for number in range(count):
        person, place = people[number % len(people)], places[number % len(places)]
        words = [("Mr" if number % 2 else "Ms", "O"), *tagged(person, "PER"), ("lives", "O"), ("in", "O")]
        words += [*tagged(place, "LOC"), (str(number), "O"), (".", "O")]
        lines += [f"{token}\t{tag}" for token, tag in words] + [""]
    path.write_text("\n".join(lines))
    return path


def tagged(name: str, kind: str) -> list[tuple[str, str]]:
    """Tag the tokens of a name."""
    return [(token, f"{'I' if at else 'B'}-{kind}") for at, token in enumerate(name.split())]


def overrides(path: Path, *more: str) -> list[str]:
    """Set the shipped config to a file and to sizes that train in seconds."""
    rules = "tag_column: -1, scheme: detect, bad_tags: error"
    data = f"data={{source: files, root: '{path.parent}', path: {path.name}, {rules}}}"
    sizes = ["units=8", "word_width=8", "character_units=4", "character_width=4"]
    small = [f"models.lstm.{size}" for size in sizes]
    sizes = ["batches.size=8", "batches.least_steps=1", "training.epochs=4", TRACED_ONCE]
    return [data, *small, *sizes, "optimizer.learning_rate=0.02", *more]
