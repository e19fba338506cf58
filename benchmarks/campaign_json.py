"""Odd JSON from a seeded generator, some of it none: as text, since no writer of JSON would write it."""

import json
import random
from collections.abc import Callable, Iterable, Mapping

MEBIBYTE = 1 << 20
ATOMS = (
    *("null", "true", "false", "{}", "[]", '""', "[[]]", "[null]", "[{}]", "[[1],[1,2],[]]", '[1,"a",null,[2]]'),
    *("NaN", "Infinity", "-Infinity", "nan", "-", "1e999", "-1e-999", "0x10", "01", ".5", "1e38", "3.5e38", "-0.0"),
    *("1" + "0" * 400, "-" + "9" * 30, str(2**63), str(2**31), "1" * 5_000, "1" * 200_000),
    *('"\\ud800"', '"\\u0000"', '"\x00"', '"\u202e\U0001f600"', '"\\x"', "'a'", '"a'),
    *('{"b64":"!!"}', '{"b64":"AAA"}', '{"b64":null}', '{"b64":""}', '{"b64":1}', '{"b64":"AAAA","x":1}'),
)
LENGTHS = (100, 99_999, 100_001, 3 * MEBIBYTE)
DEPTHS = (3, 40, 300, 5_000, 100_000)
NAMES = ("", "x", "signature_name", "inputs", "instances", "__class__")


def odd(random: random.Random, depth: int = 0) -> str:
    """Return a value as JSON, or what looks like it."""
    nested = random.choice(DEPTHS)
    values: list[Callable[[], str]] = [
        *[lambda: random.choice(ATOMS)] * 6,
        lambda: "[" * nested + "1" + "]" * random.choice((nested, nested - 1)),
        lambda: '{"a":' * nested + "1" + "}" * nested,
        lambda: quoted("a" * random.choice(LENGTHS)),
        lambda: as_object({"b64": quoted("A" * 400_000)}.items()),
        lambda: as_list(["1"] * random.choice((2, 1_025, 300_000))),
        lambda: as_list(random.choice(("[]", "{}", '""', "null")) for _ in range(random.choice((3, 5_000)))),
    ]
    if depth == 0:
        values.append(lambda: as_list([odd(random, 1), odd(random, 1)]))
        values.append(lambda: as_object([(random.choice(("x", "b64", "", "a" * 300)), odd(random, 1))]))
    return random.choice(values)()


def changed(random: random.Random, fields: Mapping[str, str]) -> str:
    """Write an object of values that are JSON already, with a field left out, doubled, added or changed."""
    change, name = random.randrange(5), random.choice(list(fields))
    pairs = list(fields.items())
    if change == 0:
        pairs = [pair for pair in pairs if pair[0] != name]
    elif change == 1:
        pairs.append((name, odd(random)))
    elif change == 2:
        pairs.append((random.choice(NAMES), odd(random)))
    else:
        pairs = [(key, odd(random) if key == name else value) for key, value in pairs]
    return as_object(pairs)


def as_object(pairs: Iterable[tuple[str, str]]) -> str:
    """Write an object of values that are JSON already."""
    return f"{{{','.join(f'{quoted(key)}:{value}' for key, value in pairs)}}}"


def as_list(values: Iterable[str]) -> str:
    """Write a list of values that are JSON already."""
    return f"[{','.join(values)}]"


def quoted(text: str) -> str:
    """Write a text as JSON."""
    return json.dumps(text)
