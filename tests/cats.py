"""Small images of every kind in folders, and a config on them that trains in a second."""

import io
from pathlib import Path

from PIL import Image
from tiny import TRACED_ONCE

from pipelines.tasks.cat_classifier.drawings import drawn_pictures

CONFIG = Path(__file__).parent.parent / "configs" / "cat_classifier.yaml"
KINDS = [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "L"), ("GIF", "P"), ("BMP", "RGB"), ("BMP", "L")]


def write_images(folder: Path, count: int = 90) -> Path:
    """Write drawings, a folder a kind, in turn in every format and way of colour, no two of one size."""
    for number, (encoded, kind) in enumerate(drawn_pictures(count, seed=3)):
        form, mode = KINDS[number % len(KINDS)]
        image = Image.open(io.BytesIO(encoded)).resize((30 + number % 20, 50 - number % 13)).convert(mode)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        image.save(folder / kind / f"{number}.{form.lower()}", form)
    return folder


def overrides(folder: Path, *more: str) -> list[str]:
    """Set the shipped config to a folder of images and to sizes that train in a second."""
    return [
        f"data={{source: files, root: '{folder.parent}', path: {folder.name}, positive: [cat], bad_files: error}}",
        "preprocessing.image_size=16",
        "models.resnet.depth=8",
        "models.resnet.filters=4",
        "batches.size=32",
        "training.epochs=2",
        TRACED_ONCE,
        *more,
    ]
