"""The tagger's pretrained encoders: pieces, windows, and the whole line for each kind of tokenizer."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import invoke, sets
from interrupted import Interrupted, interrupt_after
from presets import write_encoder
from taggers import CONFIG, overrides

from pipelines.commands.train import train
from pipelines.config.load import load_config
from pipelines.data.batches import padded
from pipelines.presets import KINDS, Preset, open_preset
from pipelines.runs.run import Run
from pipelines.tasks import load_task
from pipelines.tasks.entity_tagger.layers import FirstPieces, Windows
from pipelines.tasks.entity_tagger.pieces import Pieces
from pipelines.trained_model import build_model, load_trained_model, make_preprocessor

WORDS = ["Mr", "Ms", "lives", "in", "Ann", "Bob", "Lee", "Eve", "Dan", "Ng", "Rome", "New", "York", "Oslo"]
FAMILIES = KINDS["text encoder"]


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Return a function from a family to a tiny preset."""
    folder, made = tmp_path_factory.mktemp("presets"), {}

    def preset(family: str):
        if family not in made:
            made[family] = write_encoder(folder / family, family, WORDS)
        return made[family]

    return preset


def settings(conll, preset, *more: str) -> list[str]:
    return overrides(
        conll,
        "model=pretrained",
        f"models.pretrained.preset={preset}",
        "models.pretrained.backbone_learning_rate=0.005",
        "training.epochs=3",
        *more,
    )


def split(preset: Preset, rows: list[list[str]]) -> tuple[list[list[int]], list[list[int]]]:
    """Split rows of tokens into pieces, in a graph."""
    pieces = Pieces(preset)
    ids, firsts = tf.function(pieces.split)(tf.ragged.constant(rows, dtype=tf.string))
    return ids.to_list(), firsts.to_list()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_has_its_pieces(presets, family):
    preset = open_preset(str(presets(family)), "text encoder", "models.pretrained.preset")
    ids, firsts = split(preset, [["Ann", "lives", "in", "Romeo"], [], ["\u0301", "Oslo"]])
    assert [len(row) for row in firsts] == [4, 0, 2] and firsts[0][0] == firsts[2][0] == 1
    assert firsts[0] == sorted(set(firsts[0])) and ids[1] == [] and min(ids[0] + ids[2]) >= 1
    assert firsts[2][1] <= len(ids[2])
    tokenizer = preset.tokenizer
    alone = [np.array(tokenizer(tf.constant(token))) for token in ("Ann", " lives", " in", " Romeo")]
    np.testing.assert_array_equal(np.array(ids[0]) - 1, np.concatenate(alone))  # a space is read by byte pairs only


def test_byte_pairs_get_the_space_before_them(presets):
    preset = open_preset(str(presets("Roberta")), "text encoder", "models.pretrained.preset")
    ids, firsts = split(preset, [["Ann", "in", "Oslo"]])
    assert firsts == [[1, 4, 5]]  # the first word has no space, so it is spelt
    together = np.array(preset.tokenizer(tf.constant("Ann in Oslo")))
    np.testing.assert_array_equal(np.array(ids[0]) - 1, together)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 8, 9, 15, 40])
def test_windows_hold_each_piece_near_their_middle(count):
    room = 6
    pieces = np.zeros((2, count), "int32")
    pieces[0], pieces[1, : (count + 1) // 2] = np.arange(count) + 11, np.arange((count + 1) // 2) + 11
    fed = Windows(room, start=1, end=2, pad=0)(pieces)
    ids, mask = np.array(fed["token_ids"]), np.array(fed["padding_mask"])
    assert ids.shape[1] <= room + 2 and (ids[:, 0] == 1).all()
    for row, real in zip(ids, mask, strict=True):
        stop = real.sum()
        assert row[stop - 1] == 2 and (row[stop:] == 0).all() and real[:stop].all()
    firsts = np.where(pieces > 0, np.arange(count) + 1, 0).astype("int32")
    x = np.stack([ids, np.broadcast_to(np.arange(ids.shape[1]), ids.shape)], axis=-1).astype("float32")
    taken = np.array(FirstPieces(room)(x, firsts))
    np.testing.assert_array_equal(taken[..., 0], np.where(pieces > 0, pieces - 1, 1))
    places = taken[0, :, 1]
    inner = places[room // 2 : count - room // 2]
    assert ((inner > 1) & (inner < room)).all()  # neither the first nor the last of its window


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_sentence_is_answered_as_when_it_is_alone(presets, family, conll):
    config = load_config(CONFIG, settings(conll, presets(family)))
    task = load_task("entity_tagger")
    preprocessor = make_preprocessor(config, task)
    rows = [["Ann", "lives", "in", "Rome"] * 40, ["Bob"], ["Eve", "lives", "in", "Oslo"]]
    tags = [["B-PER", "O", "O", "B-LOC"] * 40, ["B-PER"], ["B-PER", "O", "O", "B-LOC"]]
    preprocessor.adapt(pd.DataFrame({"tokens": rows, "tags": tags}))
    model = build_model(config, task, preprocessor)
    together = model(padded(preprocessor.inputs({"tokens": tf.ragged.constant(rows)}))).numpy()
    for row, scores in zip(rows, together, strict=True):
        alone = model(padded(preprocessor.inputs({"tokens": tf.ragged.constant([row])}))).numpy()[0]
        np.testing.assert_allclose(scores[: len(row)], alone, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("Bert", ["models.pretrained.lora_rank=2", "models.pretrained.unfreeze_after_epochs=1"]),
        ("Roberta", ["models.pretrained.crf=true"]),
        ("Albert", ["models.pretrained.layer_decay=0.8"]),
    ],
)
def test_the_whole_line(presets, family, more, conll, tmp_path, monkeypatch):
    preset = shutil.copytree(presets(family), tmp_path / "preset")
    (preset / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    chosen = settings(conll, preset, *more)
    train(CONFIG, chosen, tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, chosen, tmp_path / "parts")
    train(CONFIG, chosen, tmp_path / "parts", resume=True)
    assert Run(tmp_path / "parts").metrics() == Run(tmp_path / "whole").metrics()
    record = json.loads((tmp_path / "whole/data.json").read_text())["preset"]
    assert record["licence"] == "cc-by-4.0" and record["preset"] == str(preset)
    shutil.rmtree(preset)  # a run needs it no more
    loaded = load_trained_model(Run(tmp_path / "whole"))
    assert not any("lora" in variable.path for variable in loaded.model.variables)
    exported = invoke("export", tmp_path / "whole", "--to", tmp_path / "export")  # compares the answers
    assert exported.exit_code == 0, exported.output
    card = next((tmp_path / "export").rglob("*.md")).read_text()
    assert "licence cc-by-4.0" in card
    text = "Mr  Bob Lee lives in Oslo 7. " + "Ms Ann lives in Rome 8. " * 20
    answers = [invoke("predict", folder, text, "", "--json") for folder in (tmp_path / "whole", tmp_path / "export")]
    one, other = (json.loads(answer.stdout) for answer in answers)
    for row, same in zip(one, other, strict=True):
        assert [each["text"] for each in row["entities"]] == [each["text"] for each in same["entities"]]
    assert all(text[each["start"] : each["stop"]] == each["text"] for each in one[0]["entities"])


@pytest.mark.slow
def test_a_frozen_backbone_keeps_its_weights(presets, conll, tmp_path):
    preset = presets("Bert")
    trained, _ = train(CONFIG, settings(conll, preset, "models.pretrained.freeze=true"), tmp_path / "run")
    read = open_preset(str(preset), "text encoder", "models.pretrained.preset")
    backbone = read.make_backbone()
    read.load_weights(backbone, "models.pretrained.preset")
    published = {weight.path: weight.numpy() for weight in backbone.weights}
    kept = [weight for layer in trained.model.pretrained.layers for weight in layer.weights]
    assert kept
    for weight in kept:
        np.testing.assert_array_equal(weight.numpy(), published[weight.path])


@pytest.mark.slow
def test_another_preset_under_the_same_name_is_noticed(presets, conll, tmp_path, monkeypatch):
    preset = shutil.copytree(presets("Bert"), tmp_path / "preset")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, settings(conll, preset), tmp_path / "run")
    write_encoder(preset, "Bert", WORDS[:5])
    result = invoke("train", CONFIG, *sets(settings(conll, preset)), "--run-dir", tmp_path / "run", "--resume")
    assert result.exit_code and "the preset has changed since this run was started" in result.stderr
