"""The tutorials: their commands run in order on small files, and their configs are what the commands write."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cats import write_images
from conftest import invoke, sets
from ruamel.yaml import YAML
from taggers import write_conll
from tiny import TRACED_ONCE

from pipelines.tasks.language_model.sources import embedded as texts
from pipelines.tasks.translator.phrases import make_phrases

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
SMALL = {
    "tables": ["models.tabm.units=[8]", "models.tabm.members=3"],
    "images": ["preprocessing.image_size=16", "models.resnet.depth=8", "models.resnet.filters=4"],
    "sentences": ["models.lstm.units=8", "models.lstm.word_width=8"],
    "pairs": [f"models.transformer.{size}" for size in ("encoder_layers=1", "decoder_layers=1", "width=8", "heads=2")]
    + ["decoding.length_ratio=0.0", "decoding.extra_tokens=3"],
    "texts": ["models.gru.units=8", "models.gru.width=8", "batches.steps=5", "decoding.max_tokens=20"],
}


def write_table(folder: Path) -> None:
    random = np.random.default_rng(0)
    area, rooms = random.uniform(40, 200, 150).round(1), random.integers(1, 6, 150)
    table = pd.DataFrame({"house_id": range(1000, 1150), "area": area, "rooms": rooms})
    table["district"] = random.choice(["north", "south"], 150)
    table["sold_for"] = (2000 * area + 9000 * rooms).round()
    table.to_csv(folder / "houses.csv", index=False)
    table.drop(columns="sold_for").head(3).to_csv(folder / "new_houses.csv", index=False)


def write_photos(folder: Path) -> None:
    write_images(folder / "images", 60)
    some = sorted((folder / "images" / "cat").iterdir())
    (folder / "folder_of_photos").mkdir()
    for name, source in zip(("photo.jpg", "another.png", "folder_of_photos/one.gif"), some, strict=False):
        (folder / name).write_bytes(source.read_bytes())


def write_sentences(folder: Path) -> None:
    write_conll(folder / "tagged.conll")
    (folder / "sentences.txt").write_text("Ms Ann lives in Oslo .\nEve flew to Rome .\n")


def write_pairs(folder: Path) -> None:
    splits, _ = make_phrases("en", "de", 100)
    pairs = [pair for split in splits.values() for pair in split]
    for language, side in (("en", 0), ("de", 1)):
        (folder / f"corpus.{language}").write_text("\n".join(pair[side] for pair in pairs) + "\n")


def write_text(folder: Path) -> None:
    (folder / "book.txt").write_text("\n".join(map(str, texts().examples["all"]["text"]))[:40_000])


WRITE = {
    "tables": write_table,
    "images": write_photos,
    "sentences": write_sentences,
    "pairs": write_pairs,
    "texts": write_text,
}


@pytest.mark.parametrize(
    "name", [name if name == "tables" else pytest.param(name, marks=pytest.mark.slow) for name in WRITE]
)
def test_a_tutorial_works_as_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WRITE[name](tmp_path)
    page = (TUTORIALS / f"{name}.md").read_text()
    commands = re.findall(r"^ *pipelines (.+)$", page, re.MULTILINE)
    (config,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "task:" in block)
    assert len(commands) >= 3
    for command in commands:
        arguments, _, output = command.partition(" > ")
        arguments = [word.replace("TIME", _newest("runs")) for word in shlex.split(arguments)]
        more = sets([*SMALL[name], "training.epochs=1", TRACED_ONCE]) if arguments[0] == "run" else []
        result = invoke(*arguments, *more)
        assert result.exit_code == 0, f"{command}\n{result.output}"
        if output:
            Path(output).write_text(result.stdout)
            if "--from" in arguments:
                written, shown = YAML(typ="safe").load(result.stdout), YAML(typ="safe").load(config)
                assert written == {**shown, "data": {**shown["data"], **written["data"]}}
                Path(output).write_text(config)


def _newest(folder: str) -> str:
    return max((path.name for path in Path(folder).glob("*/*")), default="")
