"""Drawings of cats, dogs, rabbits and birds. Cats, dogs and rabbits share bodies and poses."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipelines.tasks.cat_classifier.drawings.heads import CAT_EYES, Look, cat_head, dog_head, rabbit_head
from pipelines.tasks.cat_classifier.drawings.pen import (
    DARK,
    WHITE,
    Pen,
    box,
    curve,
    oval,
    pick,
    ribbon,
    shade,
    symmetric,
)

Draw = Callable[..., None]


class _Breed(NamedTuple):
    head: Draw
    tail: Draw
    poses: list[Draw]
    size: float  # scale of the head
    leg: float  # half width of a leg


def cat(pen: Pen, random: np.random.Generator) -> None:
    """Draw a cat in a random pose."""
    _animal(pen, random, _CAT)


def dog(pen: Pen, random: np.random.Generator) -> None:
    """Draw a dog in a random pose."""
    _animal(pen, random, _DOG)


def rabbit(pen: Pen, random: np.random.Generator) -> None:
    """Draw a rabbit in a random pose, but never walking."""
    _animal(pen.moved(0, 0.2, 0.82), random, _RABBIT)  # smaller, to leave room for the ears


def bird(pen: Pen, random: np.random.Generator) -> None:
    """Draw a songbird, or an owl, whose tufts look like the ears of a cat."""
    (_owl if random.random() < 0.45 else _songbird)(pen, random)


def _animal(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    pick(random, breed.poses)(pen, random, breed)


def _look(random: np.random.Generator) -> Look:
    return Look(aside=random.uniform(-1, 1), asleep=random.random() < 0.08)


def _close_up(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    pen.fur(symmetric([(0.5, 0.2), (0.85, 0.8), (0.95, 1.5)]))
    pen.fill(oval(0, 1.1, 0.35, 0.5), pen.coat.pale)
    breed.head(pen.moved(0, 0, 0.8, random.normal(0, 0.12)), random, _look(random))


def _sitting(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    breed.tail(pen, random, (0.35, 0.78), 1, random.random() < 0.5)
    wide = random.uniform(0.46, 0.62)
    pen.fur(symmetric([(0.28, -0.2), (0.38, 0.2), (wide, 0.62), (wide * 0.9, 0.88), (0, 0.9)]))
    pen.fill(oval(0, 0.16, 0.2, 0.3), pen.coat.pale)
    for side in (-1, 1):
        pen.fur(oval(side * wide * 0.75, 0.8, 0.24, 0.12), True)
        pen.fur(ribbon([(side * 0.16, 0.25), (side * 0.16, 0.6), (side * 0.17, 0.86)], breed.leg, breed.leg * 0.9))
        pen.fur(oval(side * 0.17, 0.88, breed.leg * 1.2, 0.08), True)
    breed.head(pen.moved(0, -0.42, breed.size, random.normal(0, 0.12)), random, _look(random))


def _sitting_aside(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    breed.tail(pen, random, (-0.5, 0.78), -1, random.random() < 0.5)
    arch = random.uniform(-0.08, 0.08)
    back = [(-0.45, 0.88), (-0.62, 0.6), (-0.4 - arch, 0.14), (-0.1, -0.3)]
    pen.fur(curve([(0.3, -0.2), (0.4, 0.25), (0.34, 0.88), *back]))
    pen.fill(oval(0.28, 0.08, 0.12, 0.24, 0.2), pen.coat.pale)
    pen.fur(oval(-0.2, 0.64, 0.3, 0.25))
    pen.fur(oval(0.0, 0.88, 0.24, 0.08), True)
    pen.fur(ribbon([(0.24, 0.2), (0.3, 0.55), (0.32, 0.86)], breed.leg, breed.leg * 0.8))
    pen.fur(oval(0.36, 0.88, breed.leg * 1.3, 0.08), True)
    look = _look(random)._replace(aside=random.uniform(0.3, 1.2))
    breed.head(pen.moved(0.16, -0.42, breed.size, random.normal(0, 0.15)), random, look)


def _walking(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    breed.tail(pen, random, (-0.66, 0.06), -1, random.random() < 0.8)
    stride = random.uniform(-0.22, 0.22)
    for x, step in ((-0.46, -stride), (0.36, stride)):  # far legs first
        _leg(pen, x + 0.08, step, breed.leg * 0.85)
    sag = random.uniform(-0.05, 0.08)
    back = [(-0.7, 0.1), (-0.45, -0.16), (0.05, -0.12 + sag), (0.5, -0.2)]
    pen.fur(curve([*back, (0.68, 0.1), (0.4, 0.4), (-0.05, 0.34 + sag), (-0.52, 0.4)]))
    for x, step in ((-0.52, stride), (0.42, -stride)):
        _leg(pen, x, step, breed.leg)
    look = _look(random)._replace(aside=random.uniform(0.2, 1.2), asleep=False)
    y = random.uniform(-0.4, -0.1)
    breed.head(pen.moved(0.66, y, breed.size * 0.82, random.normal(0, 0.15)), random, look)


def _leg(pen: Pen, x: float, step: float, width: float) -> None:
    pen.fur(ribbon([(x, 0.15), (x + step * 0.3, 0.5), (x + step, 0.88)], width * 1.25, width * 0.8))
    pen.fur(oval(x + step + 0.05, 0.89, width * 1.2, 0.07), True)


def _lying(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    breed.tail(pen, random, (-0.72, 0.6), -1, random.random() < 0.25)
    top = random.uniform(-0.06, 0.12)
    pen.fur(curve([(-0.86, 0.5), (-0.6, 0.1 + top), (0.0, top), (0.55, 0.05), (0.8, 0.45), (0.6, 0.76), (-0.6, 0.78)]))
    pen.fur(oval(-0.5, 0.5, 0.3, 0.26))
    pen.fur(oval(-0.3, 0.76, 0.24, 0.08), True)
    for x in (0.3, 0.55):
        pen.fur(ribbon([(x, 0.55), (x + 0.15, 0.72), (x + 0.38, 0.76)], breed.leg, breed.leg * 0.8))
    breed.head(pen.moved(random.uniform(0.3, 0.6), 0.0, breed.size, random.normal(0, 0.2)), random, _look(random))


def _curled(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    pen.fur(oval(0, 0.3, 0.82, 0.55, random.normal(0, 0.08)))
    pen.fur(oval(-0.4, 0.45, 0.34, 0.3))
    look = Look(aside=random.uniform(-0.6, 0.6), asleep=random.random() < 0.7)
    breed.tail(pen, random, (-0.6, 0.72), 1, False)
    breed.head(pen.moved(0.4, 0.32, breed.size * 0.92, random.normal(0.25, 0.2)), random, look)


def _behind(pen: Pen, random: np.random.Generator, breed: _Breed) -> None:
    wide = random.uniform(0.5, 0.64)
    breed.head(pen.moved(0, -0.42, breed.size * 0.95, random.normal(0, 0.12)), random, Look(away=True))
    pen.fur(symmetric([(0.26, -0.25), (0.36, 0.1), (wide, 0.55), (wide * 0.9, 0.88), (0, 0.92)]))
    breed.tail(pen, random, (0.05, 0.8), pick(random, [-1, 1]), random.random() < 0.4)


def _cat_tail(pen: Pen, random: np.random.Generator, root: tuple[float, float], side: int, up: bool) -> None:
    x, y = root
    if up:
        steps = [(0.22, -0.1), (0.32, -0.5), (0.2 + random.uniform(-0.1, 0.25), -0.9)]
    else:
        steps = [(0.35, 0.08), (0.62, 0.0), (0.7 + random.uniform(-0.2, 0.1), random.uniform(-0.35, -0.1))]
    slim = random.uniform(0.06, 0.1)
    pen.fur(ribbon([root, *((x + side * dx, y + dy) for dx, dy in steps)], slim, slim), random.random() < 0.5)


def _dog_tail(pen: Pen, random: np.random.Generator, root: tuple[float, float], side: int, up: bool) -> None:
    x, y = root
    if up:
        steps = [(0.16, -0.22), (0.22 + random.uniform(-0.15, 0.2), -0.52)]
    else:
        steps = [(0.25, 0.0), (0.45, random.uniform(-0.2, 0.1))]
    pen.fur(ribbon([root, *((x + side * dx, y + dy) for dx, dy in steps)], 0.12, 0.04), random.random() < 0.5)


def _rabbit_tail(pen: Pen, random: np.random.Generator, root: tuple[float, float], side: int, up: bool) -> None:
    x, y = root[0] + side * 0.12, root[1] - 0.06
    pen.fill(oval(x, y, 0.18, 0.17), pen.coat.ink)
    pen.fill(oval(x, y, 0.16, 0.15), shade(WHITE, random.uniform(0.85, 1)))


_POSES = [*[_close_up] * 4, *[_sitting] * 3, *[_sitting_aside] * 2, _lying, _lying, _curled, _behind]
_CAT = _Breed(cat_head, _cat_tail, [*_POSES, _walking, _walking], 0.54, 0.1)
_DOG = _Breed(dog_head, _dog_tail, [*_POSES, _walking, _walking], 0.54, 0.13)
_RABBIT = _Breed(rabbit_head, _rabbit_tail, _POSES, 0.5, 0.1)


def _owl(pen: Pen, random: np.random.Generator) -> None:
    pen.line([(-1, 0.86), (1, 0.86)], (92, 66, 46), 0.12)
    wide = random.uniform(0.5, 0.64)
    tuft, lean = random.uniform(0.2, 0.5), random.uniform(0.0, 0.2)
    for side in (-1, 1):
        pen.fur(np.array([(side * 0.12, -0.75), (side * (0.42 + lean), -0.85 - tuft), (side * 0.54, -0.5)]), True)
    pen.fur(symmetric([(0, -0.72), (0.5, -0.7), (wide, -0.2), (wide, 0.4), (0.32, 0.82), (0, 0.88)]))
    pen.fill(oval(0, 0.38, 0.32, 0.4), pen.coat.pale)
    for x, y in ((-0.12, 0.2), (0.12, 0.2), (0, 0.36), (-0.14, 0.5), (0.14, 0.5)):
        pen.line([(x - 0.05, y), (x, y + 0.07), (x + 0.05, y)], pen.coat.ink, 0.03)
    eye, disc = pick(random, CAT_EYES), random.uniform(0.17, 0.24)
    for side in (-1, 1):
        pen.fur(ribbon([(side * 0.46, -0.15), (side * wide, 0.2), (side * 0.4, 0.68)], 0.12, 0.06), True)
        pen.fill(oval(side * 0.24, -0.38, disc + 0.05, disc + 0.05), pen.coat.pale)
        pen.fill(oval(side * 0.24, -0.38, disc, disc), eye)
        pen.fill(oval(side * 0.24, -0.38, disc * 0.55, disc * 0.55), DARK)
        pen.line([(side * 0.14, 0.86), (side * 0.14, 0.96)], (216, 150, 50), 0.12)
    pen.fill(np.array([(-0.08, -0.3), (0.08, -0.3), (0, -0.06)]), (216, 160, 60))


def _songbird(pen: Pen, random: np.random.Generator) -> None:
    beak, long = pick(random, [(226, 160, 50), (70, 60, 56), (206, 100, 50)]), random.uniform(0.18, 0.42)
    for x in (-0.05, 0.15):
        pen.line([(x, 0.5), (x + 0.02, 0.92)], shade(beak, 0.8), 0.05)
    droop = random.uniform(-0.3, 0.3)
    pen.fur(np.array([(-0.45, 0.1), (-1.0, 0.2 + droop), (-0.98, 0.42 + droop), (-0.4, 0.4)]), True)
    pen.fur(curve([(-0.6, 0.2), (-0.1, -0.2), (0.3, -0.4), (0.55, 0.0), (0.4, 0.45), (0.0, 0.62), (-0.4, 0.5)]))
    pen.fill(oval(0.3, 0.22, 0.2, 0.3, 0.3), pen.coat.pale)
    nod = random.uniform(-0.08, 0.08)
    pen.fill(np.array([(0.6, -0.56 + nod), (0.74 + long, -0.4 + nod), (0.6, -0.32 + nod)]), beak)
    pen.fur(oval(0.42, -0.45 + nod, random.uniform(0.28, 0.36), 0.31))
    if random.random() < 0.3:
        pen.fur(np.array([(0.2, -0.65), (0.1, -1.05), (0.5, -0.74)]), True)
    pen.fill(oval(0.52, -0.5 + nod, 0.08, 0.08), WHITE)
    pen.fill(oval(0.53, -0.5 + nod, 0.055, 0.055), DARK)
    lift = random.uniform(-0.6, 0.15)
    wing = [(0.2, -0.05), (0.15, 0.3), (-0.3, 0.4), (-0.75, 0.3 + lift), (-0.3, 0.0 + lift * 0.4)]
    pen.fur(curve(wing), True)
    if random.random() < 0.4:
        pen.fill(box(-1, 0.9, 1, 1.0), (92, 66, 46))
