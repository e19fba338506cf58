"""Drawings of things that look a little like cats: houses with gables, cars with lamps, and piles of shapes."""

import numpy as np

from pipelines.tasks.cat_classifier.drawings.pen import (
    DARK,
    FURS,
    PINK,
    WHITE,
    Colour,
    Pen,
    box,
    curve,
    oval,
    pick,
    shade,
    tint,
)

PANES: list[Colour] = [(222, 196, 96), (150, 190, 110), (150, 190, 214), (70, 84, 104)]


def house(pen: Pen, random: np.random.Generator) -> None:
    """Draw a house with one or two gables, a door, and windows that look like eyes."""
    wide, eaves, peak = random.uniform(0.6, 0.9), random.uniform(-0.3, 0.0), random.uniform(0.5, 0.75)
    roof = pen.coat.tip if random.random() < 0.4 else tint(random, pick(random, FURS))
    if random.random() < 0.5:
        x = random.uniform(-0.5, 0.4)
        pen.fill(box(x, eaves - peak, x + 0.18, eaves), shade(roof, 0.7))
    gables = [(0, 1.15)] if random.random() < 0.5 else [(-0.52, 0.48), (0.52, 0.48)]
    if len(gables) > 1:
        pen.fill(box(-wide, eaves - 0.25, wide, eaves + 0.1), shade(roof, 0.8))
    pen.fur(box(-wide, eaves, wide, 0.92))
    for middle, half in gables:
        x = middle * wide
        tip = (x, eaves - peak)
        pen.fur(np.array([(x - half * wide, eaves + 0.02), tip, (x + half * wide, eaves + 0.02)]))
        pen.line([(x - half * wide, eaves + 0.04), tip, (x + half * wide, eaves + 0.04)], roof, 0.14)
    pane = pick(random, PANES)
    rows = [eaves + 0.16] if random.random() < 0.6 else [eaves + 0.12, eaves + 0.6]
    for y in rows:
        for x in (-0.55 * wide, 0.55 * wide):
            _window(pen, x, y, pane)
    door, tall = random.uniform(0.1, 0.17), random.uniform(0.3, 0.45)
    pen.fill(box(-door, 0.92 - tall, door, 0.92), shade(pick(random, [PINK, roof, DARK]), 0.8))
    pen.fill(oval(door * 0.5, 0.92 - tall * 0.45, 0.03, 0.03), WHITE)


def _window(pen: Pen, x: float, y: float, pane: Colour) -> None:
    pen.fill(box(x - 0.19, y - 0.03, x + 0.19, y + 0.35), WHITE)
    pen.fill(box(x - 0.15, y, x + 0.15, y + 0.31), pane)
    pen.line([(x, y), (x, y + 0.31)], DARK, 0.05)
    pen.line([(x - 0.15, y + 0.15), (x + 0.15, y + 0.15)], WHITE, 0.04)


def car(pen: Pen, random: np.random.Generator) -> None:
    """Draw a car from the side, or from the front with lamps that look like eyes."""
    (_car_front if random.random() < 0.5 else _car_side)(pen, random)


def _car_side(pen: Pen, random: np.random.Generator) -> None:
    roof, rear, bonnet = random.uniform(-0.45, -0.25), random.uniform(-0.75, -0.45), random.uniform(0.35, 0.6)
    front = random.uniform(0.1, 0.3)
    pen.fur(np.array([(rear - 0.1, 0.15), (rear + 0.08, roof), (front, roof), (bonnet, 0.15)]))
    pane = pick(random, PANES[2:])
    middle = (rear + front) / 2 + 0.06
    top, left, right = roof + 0.08, middle - 0.04, middle + 0.04
    pen.fill(np.array([(rear + 0.05, 0.1), (rear + 0.16, top), (left, top), (left, 0.1)]), pane)
    pen.fill(np.array([(right, 0.1), (right, top), (front, top), (bonnet - 0.14, 0.1)]), pane)
    pen.fur(curve([(-0.95, 0.2), (-0.6, 0.1), (0.5, 0.12), (0.95, 0.25), (0.98, 0.6), (0.0, 0.66), (-0.96, 0.6)]))
    pen.line([(middle, 0.14), (middle, 0.6)], pen.coat.ink)
    pen.fill(oval(0.9, 0.35, 0.08, 0.1), (240, 226, 150))
    pen.fill(oval(-0.92, 0.35, 0.06, 0.1), (190, 50, 44))
    for x in (-0.55, 0.55):
        pen.fill(oval(x, 0.64, 0.26, 0.26), DARK)
        pen.fill(oval(x, 0.64, 0.12, 0.12), (170, 170, 174))


def _car_front(pen: Pen, random: np.random.Generator) -> None:
    wide, roof = random.uniform(0.75, 0.9), random.uniform(-0.65, -0.4)
    for side in (-1, 1):
        pen.fill(box(side * wide * 0.75 - 0.15, 0.55, side * wide * 0.75 + 0.15, 0.95), DARK)
        pen.fur(np.array([(side * wide * 0.85, -0.05), (side * (wide + 0.12), -0.3), (side * (wide + 0.2), 0.0)]), True)
    pen.fur(curve([(-wide * 0.8, 0.05), (-0.55, roof), (0.55, roof), (wide * 0.8, 0.05)]))
    screen = [(-wide * 0.66, 0.0), (-0.48, roof + 0.12), (0.48, roof + 0.12), (wide * 0.66, 0.0)]
    pen.fill(np.array(screen), pick(random, PANES[2:]))
    pen.fur(curve([(-wide, 0.1), (0, -0.02), (wide, 0.1), (wide + 0.06, 0.65), (0, 0.76), (-wide - 0.06, 0.65)]))
    lamp, high = random.uniform(0.14, 0.22), random.uniform(0.1, 0.18)
    for side in (-1, 1):
        pen.fill(oval(side * wide * 0.66, 0.26, lamp + 0.03, high + 0.03), DARK)
        pen.fill(oval(side * wide * 0.66, 0.26, lamp, high), pick(random, [(244, 236, 190), (226, 200, 90)]))
        pen.fill(oval(side * wide * 0.66, 0.26, 0.06, 0.06), WHITE)
    pen.fill(box(-0.28, 0.22, 0.28, 0.42), DARK)
    for x in (-0.14, 0, 0.14):
        pen.line([(x, 0.22), (x, 0.42)], (170, 170, 174))
    pen.fill(box(-0.22, 0.52, 0.22, 0.64), WHITE)


def blob(pen: Pen, random: np.random.Generator) -> None:
    """Draw a pile of ovals, triangles, dots and lines, which look like the parts of a cat in random order."""
    for x, y, width, height, turn in random.uniform(-1, 1, (int(random.integers(2, 6)), 5)).tolist():
        pen.fur(oval(0.6 * x, 0.6 * y, 0.42 + 0.25 * width, 0.4 + 0.2 * height, 3 * turn), random.random() < 0.3)
        if random.random() < 0.7:
            part = pen.moved(0.7 * y, 0.7 * turn, 1, 3 * x)
            part.fur(np.array([(-0.25, 0.1), (0.2 * width, -0.5), (0.25, 0.1)]), random.random() < 0.6)
    for x, y, wide, turn in random.uniform(-1, 1, (int(random.integers(0, 5)), 4)).tolist():
        spot = pen.moved(0.6 * x, 0.6 * y, 1, 3 * turn)
        spot.fill(oval(0, 0, 0.14 + 0.05 * wide, 0.11), pick(random, PANES))
        spot.fill(oval(0, 0, 0.04, 0.09), DARK)
    for x, y, turn in random.uniform(-1, 1, (int(random.integers(0, 6)), 3)).tolist():
        pen.moved(0.6 * x, 0.6 * y, 1, 3 * turn).line([(0, 0), (0.5, 0.05)], pick(random, [WHITE, DARK]))
