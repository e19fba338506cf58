"""Published backbones: found, loaded, and rebuilt without their files."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from presets import write_bert, write_causal

from pipelines.errors import UserError
from pipelines.presets import Preset, open_preset

WORDS = ["Hello".lower(), "world", "oslo"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return write_causal(tmp_path_factory.mktemp("presets") / "gpt2")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("presets") / "bert", WORDS)


CHATS = {
    "in the tokenizer's settings": ({"chat_template": "{{ messages }}", "eos_token": {"content": "<|end|>"}}, None),
    "one of several": ({"chat_template": [{"name": "default", "template": "{{ messages }}"}]}, None),
    "in a file": ({"eos_token": "<|end|>"}, "{{ messages }}"),
    "none": ({"eos_token": "<|end|>", "chat_template": [{"name": "tools", "template": ""}]}, None),
}


@pytest.mark.parametrize("case", CHATS)
def test_the_chat_template_of_a_snapshot_is_part_of_a_preset(case, gpt2, tmp_path):
    stated, file = CHATS[case]
    folder = shutil.copytree(gpt2, tmp_path / "gpt2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": None, **stated}))
    if file:
        (folder / "chat_template.jinja").write_text(file)
    preset = open_preset(str(folder), "causal language model", "models.pretrained.preset")
    end = "" if case == "one of several" else "<|end|>"
    expected = {} if case == "none" else {"template": "{{ messages }}", "bos_token": "", "eos_token": end}
    assert preset.chat == expected == Preset.restore(preset.state()).chat


def test_a_preset_is_rebuilt_from_its_state_alone(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    preset = open_preset(str(folder), "text encoder", "models.pretrained.preset")
    backbone = preset.make_backbone()
    preset.load_weights(backbone, "models.pretrained.preset")
    np.savez(tmp_path / "state.npz", **preset.state())
    shutil.rmtree(folder)
    with np.load(tmp_path / "state.npz") as state:
        again = Preset.restore(dict(state))
    assert again == preset
    rebuilt = again.make_backbone()
    assert [weight.shape for weight in rebuilt.weights] == [weight.shape for weight in backbone.weights]
    texts = tf.constant(["Hello world", "xyz"])

    def ids(of):
        return tf.function(lambda: of.tokenizer(texts).to_tensor())().numpy()

    np.testing.assert_array_equal(ids(again), ids(preset))


def test_the_published_weights_are_loaded(bert):
    preset = open_preset(str(bert), "text encoder", "models.pretrained.preset")
    first, second = preset.make_backbone(), preset.make_backbone()
    assert any((a != b).any() for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    for backbone in (first, second):
        preset.load_weights(backbone, "models.pretrained.preset")
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_record_says_where_a_preset_comes_from(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    assert open_preset(str(folder), "text encoder", "models.pretrained.preset").record["licence"] is None
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    record = open_preset(str(folder), "text encoder", "models.pretrained.preset").record
    assert record["licence"] == "apache-2.0" and len(record["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_tiny_en_uncase", "did you mean 'bert_tiny_en_uncased'?"),
        ("nowhere/bert", "no such preset or folder: 'nowhere/bert'; name a KerasHub preset, kaggle://..., hf://... or"),
        ("ftp://a/b", "unknown scheme"),
        ("hf://somebody/something", "set preset to their folder"),
        ("bert_tiny_en_uncased", "set preset to their folder"),
    ],
)
def test_a_preset_that_is_not_there_gets_one_line(name, expected, monkeypatch, tmp_path):
    monkeypatch.setattr("pipelines.presets._reachable", lambda host: False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"^models\.pretrained\.preset: ") as caught:
        open_preset(name, "text encoder", "models.pretrained.preset")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_is_no_preset_gets_one_line(bert, tmp_path):
    with pytest.raises(UserError, match=r"is not a preset: it needs config\.json"):
        open_preset(str(tmp_path), "text encoder", "models.pretrained.preset")
    with pytest.raises(UserError, match="is a Bert model, but this takes image backbones"):
        open_preset(str(bert), "image backbone", "models.pretrained.preset")
    folder = shutil.copytree(bert, tmp_path / "bert")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot read the preset"):
        open_preset(str(folder), "text encoder", "models.pretrained.preset")


def test_a_config_reaches_no_other_class(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    for class_name, module in (("system", "os"), ("Lambda", "keras.layers")):
        (folder / "config.json").write_text(
            json.dumps({**config, "class_name": class_name, "module": module, "registered_name": class_name})
        )
        with pytest.raises(UserError, match=r"cannot read the preset"):
            open_preset(str(folder), "text encoder", "models.pretrained.preset")


def test_a_lower_casing_tokenizer_of_hugging_face_strips_accents(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bert")
    for stated, strips in (({}, False), ({"do_lower_case": True}, True), ({"strip_accents": False}, False)):
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, **stated}))
        preset = open_preset(str(folder), "text encoder", "models.pretrained.preset")
        ids = tf.function(preset.tokenizer)(tf.constant(["w\u00f6rld", "world"])).to_list()
        assert (ids[0] == ids[1]) == strips
