"""Heads of cats, dogs and rabbits. A head has a radius of about 1; ears, muzzle and tongue extend beyond it."""

from typing import NamedTuple

import numpy as np

from pipelines.tasks.cat_classifier.drawings.pen import (
    DARK,
    PINK,
    WHITE,
    Colour,
    Pen,
    oval,
    pick,
    ribbon,
    shade,
    symmetric,
    tint,
)

CAT_EYES: list[Colour] = [(150, 190, 70), (222, 186, 60), (206, 132, 40), (110, 170, 210), (90, 160, 110)]
DOG_EYES: list[Colour] = [(64, 40, 26), (36, 28, 26), (110, 70, 36), (120, 160, 190)]


class Look(NamedTuple):
    """Direction of a head: sideways from -1 to 1, or away from the viewer. A sleeping head has closed eyes."""

    aside: float = 0.0
    away: bool = False
    asleep: bool = False


def cat_head(pen: Pen, random: np.random.Generator, look: Look) -> None:
    """Draw a wide head with pointed ears, slit pupils, a small nose and whiskers."""
    spread, tall, aside = random.uniform(0.52, 0.72), random.uniform(0.5, 0.75), 0.3 * look.aside
    for side in (-1, 1):
        _pointed_ear(pen, side * spread - 0.4 * aside, side, (0.42, tall), look.away)
    cheek, crown = random.uniform(0.88, 1.05), random.uniform(0.78, 0.9)
    pen.fur(symmetric([(0, -crown), (0.5, -0.74), (0.88, -0.3), (cheek, 0.25), (0.62, 0.72), (0, 0.88)]))
    _forehead(pen, aside)
    if look.away:
        return
    face = pen.moved(aside, 0)
    face.fill(oval(0, 0.5, 0.42, 0.28), pen.coat.pale)
    eye, slit = pick(random, CAT_EYES), random.uniform(0.05, 0.13)
    wide, high, slant = random.uniform(0.2, 0.28), random.uniform(0.17, 0.26), random.uniform(0.0, 0.35)
    for side in (-1, 1):
        if look.asleep:
            face.line([(side * 0.62, 0.0), (side * 0.42, 0.1), (side * 0.2, 0.02)], shade(pen.coat.ink, 0.7), 0.09)
            continue
        face.fill(oval(side * 0.42, -0.06, wide + 0.05, high + 0.05, -side * slant), DARK)
        face.fill(oval(side * 0.42, -0.06, wide, high, -side * slant), eye)
        face.fill(oval(side * 0.42, -0.06, slit, high * 0.95), DARK)
        face.fill(oval(side * 0.42 + 0.07, -0.13, 0.05, 0.05), WHITE)
    face.fill(np.array([(-0.13, 0.26), (0.13, 0.26), (0, 0.41)]), pick(random, [PINK, PINK, DARK]))
    lips = [(-0.28, 0.52), (-0.14, 0.62), (0, 0.52), (0, 0.4), (0, 0.52), (0.14, 0.62), (0.28, 0.52)]
    face.line(lips, shade(pen.coat.ink, 0.7), 0.04)
    _whiskers(face, random, random.uniform(1.0, 1.4))


def dog_head(pen: Pen, random: np.random.Generator, look: Look) -> None:
    """Draw a head with a long muzzle, a big nose, hanging, folded or pointed ears, and sometimes a tongue."""
    ears, aside = pick(random, ["hanging", "hanging", "folded", "pointed"]), look.aside
    broad = random.uniform(0.68, 0.85)
    if ears == "pointed":
        for side in (-1, 1):
            _pointed_ear(pen, side * 0.48 - 0.1 * aside, side, (0.3, random.uniform(0.55, 0.8)), look.away)
    pen.fur(symmetric([(0, -0.85), (broad * 0.8, -0.6), (broad, 0.0), (0.5, 0.7), (0, 0.85)]))
    _forehead(pen, 0.2 * aside)
    if not look.away:
        _dog_face(pen, random, look)
    long = random.uniform(0.5, 0.95)
    for side in (-1, 1):
        x = side * broad * 0.85 - 0.12 * aside
        if ears == "hanging":
            path = [(x * 0.8, -0.62), (x + side * 0.26, -0.3), (x + side * 0.28, long - 0.3)]
            pen.fur(ribbon(path, 0.16, 0.22), True)
        elif ears == "folded":
            flap = [(x - side * 0.5, -0.72), (x - side * 0.1, -0.98), (x + side * 0.36, -0.3), (x, -0.4)]
            pen.fur(np.array(flap), True)


def _dog_face(pen: Pen, random: np.random.Generator, look: Look) -> None:
    aside, eye = look.aside, pick(random, DOG_EYES)
    for side in (-1, 1):
        x = side * 0.34 + 0.28 * aside
        if look.asleep:
            pen.line([(x - 0.15, -0.12), (x, -0.05), (x + 0.15, -0.12)], shade(pen.coat.ink, 0.7), 0.09)
            continue
        pen.fill(oval(x, -0.16, 0.17, 0.17), shade(pen.coat.ink, 0.8))
        pen.fill(oval(x, -0.16, 0.13, 0.13), eye)
        pen.fill(oval(x + 0.04, -0.2, 0.05, 0.05), WHITE)
    x, y, size = 0.62 * aside, 0.42, random.uniform(0.38, 0.5)
    if not look.asleep and random.random() < 0.45:
        pen.fill(oval(x * 1.05, y + size, 0.18, random.uniform(0.3, 0.5)), tint(random, (222, 96, 104)))
    pen.fill(oval(x, y, size + 0.03, size * 0.95 + 0.03), pen.coat.ink)
    pen.fill(oval(x, y, size, size * 0.95), pen.coat.pale)
    pen.fill(oval(x * 1.3, y - size * 0.4, 0.24, 0.17), DARK)
    pen.fill(oval(x * 1.3 - 0.06, y - size * 0.4 - 0.06, 0.06, 0.04), (150, 140, 140))
    pen.line([(x * 1.3, y - 0.1), (x * 1.2, y + 0.16), (x * 1.1 - 0.2, y + 0.22), (x - 0.32, y + 0.1)], DARK, 0.05)
    pen.line([(x * 1.2, y + 0.16), (x * 1.1 + 0.2, y + 0.22), (x + 0.32, y + 0.1)], DARK, 0.05)


def rabbit_head(pen: Pen, random: np.random.Generator, look: Look) -> None:
    """Draw a narrow head with long ears, dark eyes at the sides and two teeth."""
    long, lean, flop = random.uniform(0.8, 1.2), random.uniform(0.05, 0.4), random.random() < 0.2
    for side in (-1, 1):
        bend = (side * 0.9, -0.9) if flop and side > 0 else (side * (0.32 + lean), -0.7 - long)
        path = [(side * 0.3, -0.55), (side * (0.34 + lean / 2), -0.6 - long * 0.6), bend]
        pen.fur(ribbon(path, 0.2, 0.17))
        if not look.away:
            pen.fill(ribbon(path, 0.08, 0.09), PINK)
    pen.fur(symmetric([(0, -0.85), (0.6, -0.5), (0.74, 0.1), (0.6, 0.62), (0, 0.84)]))
    if look.away:
        return
    face = pen.moved(0.25 * look.aside, 0)
    face.fill(oval(0, 0.46, 0.36, 0.27), pen.coat.pale)
    for side in (-1, 1):
        if look.asleep:
            face.line([(side * 0.56, -0.06), (side * 0.4, 0.02), (side * 0.26, -0.06)], shade(pen.coat.ink, 0.7), 0.09)
            continue
        face.fill(oval(side * 0.42, -0.08, 0.16, 0.2), shade(pen.coat.ink, 0.8))
        face.fill(oval(side * 0.42, -0.08, 0.12, 0.16), pick(random, [DARK, (90, 30, 30)]))
        face.fill(oval(side * 0.42 + 0.04, -0.15, 0.05, 0.05), WHITE)
    face.fill(oval(0, 0.3, 0.12, 0.08), PINK)
    face.fill(np.array([(-0.1, 0.56), (0.1, 0.56), (0.09, 0.78), (-0.09, 0.78)]), WHITE)
    face.line([(-0.2, 0.54), (0, 0.5), (0, 0.34), (0, 0.5), (0.2, 0.54)], shade(pen.coat.ink, 0.7), 0.04)
    if random.random() < 0.4:
        _whiskers(face, random, 0.9)


def _pointed_ear(pen: Pen, x: float, side: int, size: tuple[float, float], away: bool) -> None:
    half, tall = size
    tip = (x + side * 0.2, -0.7 - tall)
    foot = [(x + half * 0.9, -0.4), (x + half * 0.6, -0.1), (x - half, -0.55), (x - half * 0.6, -0.75)]
    pen.fur(np.array([tip, *foot]), True)
    if not away:
        pen.fill(np.array([(x - half * 0.4, -0.68), (tip[0], tip[1] + 0.2), (x + half * 0.6, -0.4)]), PINK)


def _forehead(pen: Pen, aside: float) -> None:
    if pen.coat.striped:
        for x in (-0.22, 0, 0.22):
            pen.line([(x + aside, -0.8), (0.8 * x + aside, -0.42)], pen.coat.mark, 0.09)


def _whiskers(face: Pen, random: np.random.Generator, long: float) -> None:
    colour = pick(random, [WHITE, WHITE, shade(face.coat.ink, 0.7)])
    for side in (-1, 1):
        for rise in (-0.16, 0.02, 0.2):
            face.line([(side * 0.3, 0.46 + rise / 3), (side * (0.3 + long), 0.42 + 1.6 * rise)], colour)
