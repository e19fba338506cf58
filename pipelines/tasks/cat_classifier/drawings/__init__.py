"""Random drawings of cats and of things that are easily mistaken for cats.

Cats and the other figures share coats, colours, positions, sizes, backgrounds and light. Colours and pixel means do not
separate them, only shapes do.
"""

import io
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines.tasks.cat_classifier.drawings.animals import bird, cat, dog, rabbit
from pipelines.tasks.cat_classifier.drawings.pen import (
    FURS,
    Colour,
    Pen,
    box,
    curve,
    oval,
    pick,
    shade,
    tint,
    with_coat,
)
from pipelines.tasks.cat_classifier.drawings.things import blob, car, house

FIGURES = {"cat": cat, "dog": dog, "rabbit": rabbit, "bird": bird, "house": house, "car": car, "blob": blob}
SHARES = {"cat": 0.5, "dog": 0.13, "rabbit": 0.1, "bird": 0.09, "house": 0.06, "car": 0.06, "blob": 0.06}
FINER = 3  # scale of the canvas: lines thinner than a pixel stay visible
ROOMS: list[Colour] = [
    (150, 186, 214),
    (108, 146, 92),
    (176, 196, 132),
    (206, 188, 170),
    (148, 112, 96),
    (196, 160, 170),
    (86, 92, 110),
    (226, 222, 210),
]

_THRESHOLDS = np.cumsum(list(SHARES.values()))


def drawn_pictures(count: int, seed: int) -> list[tuple[bytes, str]]:
    """Draw the pictures with the indices 0 to `count` - 1. Each is an encoded JPEG and the kind of its figure."""
    return [drawn_picture(seed, index) for index in range(count)]


def drawn_picture(seed: int, index: int, *, size: int = 64) -> tuple[bytes, str]:
    """Draw a picture that depends only on its seed and index.

    Returns:
        The encoded JPEG, `size` pixels wide and high, and the kind of its figure, a key of `FIGURES`.
    """
    random = np.random.default_rng([seed, index])
    kind = list(SHARES)[np.searchsorted(_THRESHOLDS, random.random() * _THRESHOLDS[-1], side="right")]
    canvas = Image.new("RGB", (size * FINER, size * FINER), _colour(random))
    scene = _pen(canvas, (size * FINER / 2, size * FINER / 2), size * FINER / 2)
    _background(scene, random)
    _figure(scene, random, kind)
    if random.random() < 0.3:
        _foreground(scene, random)
    picture = _lit(canvas.reduce(FINER), random)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=90)
    return encoded.getvalue(), kind


def _pen(image: Image.Image, middle: tuple[float, float], scale: float) -> Pen:
    return Pen(image, ImageDraw.Draw(image), np.eye(2) * scale, np.array(middle))


def _colour(random: np.random.Generator) -> Colour:
    return shade(tint(random, pick(random, pick(random, [FURS, ROOMS])), 20), random.uniform(0.7, 1.1))


def _figure(scene: Pen, random: np.random.Generator, kind: str) -> None:
    scale = random.uniform(0.74, 1.0)
    x, y = random.uniform(-0.1, 0.1, 2).tolist()
    pen = scene.moved(x, y + 0.05, scale, random.normal(0, 0.08))
    stretch = np.diag([pick(random, [-1, 1]) * random.uniform(0.88, 1.12), 1.0])
    pen = with_coat(pen._replace(frame=pen.frame @ stretch), random)
    if random.random() < 0.5:
        ground = cast(Colour, pen.image.getpixel((5, pen.image.height - 5)))
        pen.fill(oval(0, 0.92, 0.95, 0.14), shade(ground, 0.7))
    FIGURES[kind](pen, random)


def _background(scene: Pen, random: np.random.Generator) -> None:
    pick(random, [_gradient, _indoors, _outdoors, _pattern, _clouds])(scene, random)
    for _ in range(int(random.integers(0, 4))):
        _clutter(scene, random)


def _gradient(scene: Pen, random: np.random.Generator) -> None:
    fade = Image.linear_gradient("L").resize(scene.image.size)
    scene.image.paste(
        _colour(random), mask=fade if random.random() < 0.5 else fade.transpose(Image.Transpose.ROTATE_90)
    )


def _indoors(scene: Pen, random: np.random.Generator) -> None:
    floor = random.uniform(0.1, 0.7)
    wood = _colour(random)
    scene.fill(box(-1, floor, 1, 1), wood)
    scene.line([(-1, floor), (1, floor)], shade(wood, 0.6), 0.04)
    for x, y in random.uniform(-1, 1, (int(random.integers(0, 3)), 2)).tolist():  # pictures and windows
        pane = box(x - 0.25, 0.6 * y - 0.4, x + 0.3, 0.6 * y + 0.1)
        scene.fill(pane, _colour(random))
        scene.line(np.vstack([pane, pane[:1]]), _colour(random), 0.06)
    if random.random() < 0.5:  # a sofa or a cushion
        x, y = random.uniform(-0.7, 0.7), random.uniform(0.2, 0.6)
        seat = [(x - 0.8, y), (x, y - 0.2), (x + 0.8, y), (x + 0.9, y + 0.5), (x - 0.9, y + 0.5)]
        scene.fill(curve(seat), _colour(random))


def _outdoors(scene: Pen, random: np.random.Generator) -> None:
    horizon, green = random.uniform(-0.3, 0.5), tint(random, pick(random, ROOMS[1:3]), 24)
    for x, y in random.uniform(-1, 1, (int(random.integers(0, 4)), 2)).tolist():  # hills and trees
        if random.random() < 0.5:
            scene.fill(oval(x, horizon, 0.5 + 0.2 * y, 0.3), shade(green, random.uniform(0.6, 1.1)))
        else:
            scene.fill(box(x - 0.06, horizon - 0.5, x + 0.06, horizon + 0.1), (96, 72, 54))
            scene.fill(oval(x, horizon - 0.6, 0.28, 0.3), shade(green, 0.75))
    scene.fill(box(-1, horizon, 1, 1), green)
    for x, y in random.uniform(-1, 1, (14, 2)).tolist():  # tufts of grass
        y = horizon + (y + 1) / 2 * (1 - horizon)
        scene.line([(x, y), (x + 0.03, y - 0.1)], shade(green, 0.75))


def _pattern(scene: Pen, random: np.random.Generator) -> None:
    colour, gap = _colour(random), random.uniform(0.2, 0.5)
    turned = scene.moved(0, 0, turn=random.uniform(0, 3))
    style = pick(random, ["stripes", "checks", "dots"])
    for place in np.arange(-1.5, 1.5, gap).tolist():
        if style == "dots":
            for other in np.arange(-1.5, 1.5, gap).tolist():
                turned.fill(oval(place, other, gap * 0.22, gap * 0.22), colour)
            continue
        turned.line([(place, -1.5), (place, 1.5)], colour, gap * 0.4)
        if style == "checks":
            turned.line([(-1.5, place), (1.5, place)], shade(colour, 0.85), gap * 0.3)


def _clouds(scene: Pen, random: np.random.Generator) -> None:
    cells = int(random.integers(3, 9))
    coarse = Image.fromarray(random.integers(0, 256, (cells, cells), np.uint8))
    scene.image.paste(_colour(random), mask=coarse.resize(scene.image.size, Image.Resampling.BILINEAR))


def _clutter(scene: Pen, random: np.random.Generator) -> None:
    x, y = random.uniform(-1, 1, 2).tolist()
    part = scene.moved(x, y, random.uniform(0.12, 0.35), random.uniform(0, 6))
    shape = pick(random, [oval(0, 0, 1, 0.8), box(-1, -0.7, 1, 0.7), np.array([(-0.8, 0.6), (0, -1.0), (0.8, 0.6)])])
    part.fill(shape, _colour(random))


def _foreground(scene: Pen, random: np.random.Generator) -> None:
    colour, style = _colour(random), pick(random, ["post", "edge", "blades", "ball"])
    x = random.uniform(-0.9, 0.9)
    if style == "post":
        scene.moved(x, 0, turn=random.normal(0, 0.3)).fill(box(-0.07, -1.5, 0.07, 1.5), colour)
    elif style == "edge":
        scene.moved(0, random.uniform(0.5, 0.9), turn=random.normal(0, 0.1)).fill(box(-1.5, 0, 1.5, 1), colour)
    elif style == "blades":
        for move in random.normal(0, 0.35, 9).tolist():
            scene.line([(x + move, 1), (x + 1.3 * move, 0.4)], colour, 0.05)
    else:
        scene.fill(oval(x, random.uniform(0.3, 1.0), random.uniform(0.15, 0.35), 0.25), colour)


def _lit(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    if random.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.9)))
    pixels = np.asarray(picture, np.float32)
    along = np.linspace(-1, 1, len(pixels), dtype=np.float32)
    slope = random.uniform(-0.25, 0.25, 2)
    light = random.uniform(0.8, 1.15) + slope[0] * along + slope[1] * along[:, None]
    warmth = random.uniform(0.92, 1.08, 3)
    noise = random.standard_normal(pixels.shape, np.float32) * np.float32(random.uniform(1, 8))
    pixels = pixels * light[..., None].astype(np.float32) * warmth.astype(np.float32) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
