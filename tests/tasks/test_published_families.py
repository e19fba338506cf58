"""Every family of published backbones: trained, killed, resumed, exported, served."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cats
import pytest
import taggers
from conftest import invoke, sets
from presets import (
    CAUSAL,
    write_causal,
    write_efficientnet,
    write_encoder,
    write_encoder_decoder,
    write_resnet,
    write_siglip,
    write_vit,
)
from serving.servers import Server
from tiny import TRACED_ONCE

from pipelines.presets import KINDS
from pipelines.runs.run import Run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WORDS = "Mr Ms lives in Ann Bob Lee Eve Dan Ng Rome New York Oslo".split()
VERSES = "".join(f"the {number % 7} cats sat on the mat, and the {number % 5} dogs ran.\n" for number in range(300))
IMAGES = {"EfficientNet": write_efficientnet, "ResNet": write_resnet, "ViT": write_vit, "SigLIP": write_siglip}
PAIRS = [("two cats", "deux chats"), ("a dog sat on Rome", "un chien \u00e0 Rome"), ("one", "un")]


def tagger(folder: Path, family: str) -> tuple[Path, list[str], str]:
    """Return a tagger's config and settings, and an input."""
    preset = write_encoder(folder / "preset", family, WORDS)
    sentences = taggers.write_conll(folder / "names.conll")
    return taggers.CONFIG, [*taggers.overrides(sentences), f"models.pretrained.preset={preset}"], "Bob Lee is in Oslo"


def language_model(folder: Path, family: str) -> tuple[Path, list[str], str]:
    """Return a language model's config and settings, and an input."""
    preset = write_causal(folder / "preset", family)
    (folder / "verses.txt").write_text(VERSES)
    settings = [
        f"data={{source: files, root: '{folder}', path: verses.txt}}",
        f"models.pretrained.preset={preset}",
        f"preprocessing.token_folder={folder}/tokens",
        "preprocessing.context=16",
        "batches.size=8",
        "batches.steps=10",
        "training.execution={jit_compile: false, steps_per_execution: 10}",
        "decoding.max_tokens=20",
    ]
    return ROOT / "configs/language_model.yaml", settings, "the 3 cats"


def translator(folder: Path, family: str) -> tuple[Path, list[str], str]:
    """Return a translator's config and settings, and an input."""
    texts = [text for pair in PAIRS for text in pair]
    if family in KINDS["text encoder"]:
        preset = write_encoder(folder / "preset", family, sorted({word for text in texts for word in text.split()}))
    else:
        preset = write_encoder_decoder(folder / "preset", family, texts, num_layers=1)
    lines = [f"{source} {number}\t{target} {number}" for number in range(12) for source, target in PAIRS]
    (folder / "pairs.tsv").write_text("\n".join(lines))
    decoder = {"decoder_layers": 1, "width": 8, "heads": 2, "feed_forward_units": 12}
    settings = [
        f"data={{source: files, from_language: en, to_language: fr, root: '{folder}', path: pairs.tsv,"
        " most_characters: 80, most_ratio: 3.0}",
        f"models.pretrained.preset={preset}",
        *(f"models.pretrained.{name}={value}" for name, value in decoder.items()),
        "preprocessing.level=word",
        "preprocessing.longest=24",
        "batches.tokens=256",
        "decoding={beams: 2, length_penalty: 0.6, length_ratio: 1.0, extra_tokens: 2}",
        TRACED_ONCE,
    ]
    return ROOT / "configs/translator.yaml", settings, "two cats"


def classifier(folder: Path, family: str) -> tuple[Path, list[str], str]:
    """Return an image classifier's config and settings, and an input."""
    preset = IMAGES[family](folder / "preset")
    images = cats.write_images(folder / "images")
    settings = [*cats.overrides(images), f"models.pretrained.preset={preset}"]
    return cats.CONFIG, settings, str(next(images.rglob("*.jpeg")))


FAMILIES = [
    *((tagger, family) for family in KINDS["text encoder"]),
    *((language_model, family) for family in CAUSAL),
    *((translator, family) for family in ("T5", "Bart", "Bert")),
    *((classifier, family) for family in IMAGES),
]


@pytest.fixture
def servers(tmp_path) -> Iterator:
    """Start servers that end with the test."""
    started = []
    yield lambda folder: started.append(Server(tmp_path / "server.jsonl", folder)) or started[-1]
    for server in started:
        server.stop()


@pytest.mark.parametrize(("task", "family"), FAMILIES)
def test_a_family_is_trained_killed_resumed_exported_and_served(task, family, tmp_path, servers):
    config, settings, text = task(tmp_path, family)
    settings += ["model=pretrained", "training.epochs=3"]
    done("train", config, *sets(settings), "--run-dir", tmp_path / "whole")
    kill_after_the_first_epoch("train", config, *sets(settings), "--run-dir", tmp_path / "killed")
    done("train", config, *sets(settings), "--run-dir", tmp_path / "killed", "--resume")
    assert Run(tmp_path / "killed").metrics() == Run(tmp_path / "whole").metrics()
    shutil.rmtree(tmp_path / "preset")  # a run needs it no more
    done("export", tmp_path / "killed", "--to", tmp_path / "export")  # compares the answers
    answers = [done("predict", tmp_path / folder, text, "--json") for folder in ("killed", "export")]
    assert answers[0] == answers[1]
    instance = {"b64": base64.b64encode(Path(text).read_bytes()).decode()} if task is classifier else text
    served = servers(tmp_path / "export").post("/v1/models/export:predict", {"instances": [instance]})
    assert served.status_code == 200, served.text


def done(*arguments: object) -> object:
    """Run a command that succeeds, and return the JSON that it prints, if any."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else None


def kill_after_the_first_epoch(*arguments: object) -> None:
    """Run a command in a process of its own, and kill it after its first checkpoint."""
    folder = Path(str(arguments[-1]))
    command = [sys.executable, "cli.py", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "checkpoints/last.npz").exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not Run(folder).finished
