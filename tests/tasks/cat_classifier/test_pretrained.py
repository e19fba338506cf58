"""Image models on published backbones: as published before training, fine-tuned as asked, and fast while frozen."""

import json
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
from cats import CONFIG, overrides
from conftest import invoke, sets
from interrupted import Interrupted, interrupt_after
from presets import write_efficientnet, write_resnet, write_siglip, write_vit

from pipelines.commands.train import train
from pipelines.errors import UserError
from pipelines.presets import open_preset
from pipelines.runs.run import Run
from pipelines.tasks.cat_classifier.models import MODELS
from pipelines.tasks.cat_classifier.preprocessing import Features
from pipelines.trained_model import load_trained_model
from pipelines.training.features import FeatureEncoder, head_and_encoder
from pipelines.training.optimizers import adam
from pipelines.training.pretrained import Unfreeze, load_pretrained_weights

WRITERS = {"EfficientNet": write_efficientnet, "ResNet": write_resnet, "ViT": write_vit, "SigLIP": write_siglip}
SETTINGS = {
    "weights": "published",
    "freeze": False,
    "unfreeze_after_epochs": 1,
    "backbone_learning_rate": None,
    "layer_decay": 1.0,
    "lora_rank": None,
    "initializer": "auto",
    "units": [],
    "activation": "relu",
    "dropout": 0.0,
    "l2": 0.0,
}
NO_AUGMENTATION = ["preprocessing.augmentation.flip=false", "preprocessing.augmentation.crop=0.0"]


@pytest.fixture(scope="module", params=WRITERS)
def folder(request, tmp_path_factory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("presets") / request.param)


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory) -> Path:
    return write_efficientnet(tmp_path_factory.mktemp("presets") / "efficientnet")


def build(preset: Path | str, side: int = 16, **changes) -> keras.Model:
    opened = open_preset(str(preset), "image backbone", "models.pretrained.preset")
    features = Features(side, 1, np.full(3, 120, "float32"), np.full(3, 60, "float32"), opened)
    model = MODELS["pretrained"](features, **{**SETTINGS, **changes, "preset": str(preset)})
    load_pretrained_weights(model)
    return model


def frozen(images: Path, preset: Path, *more: str) -> list[str]:
    own = [f"models.pretrained.preset={preset}", "models.pretrained.freeze=true", "training.epochs=3"]
    return overrides(images, "model=pretrained", *NO_AUGMENTATION, *own, *more)


def history(folder: Path) -> pd.DataFrame:
    return Run.open(folder).history().drop(columns="seconds")


def test_a_model_starts_from_what_was_published(folder):
    model = build(folder)
    images = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype("float32")
    features = keras.Model(model.inputs, model.features)({"image": images}, training=False)
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    if isinstance(
        backbone, keras_hub.models.ViTBackbone
    ):  # no scaling is stated: that of the training split; the class token
        expected = backbone((images - 120) / 60)[:, 0]
    else:
        converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
        scale, offset = (np.array(value, "float32") for value in (converter.scale, converter.offset))
        siglip = isinstance(backbone, keras_hub.models.SigLIPBackbone)  # its vision encoder pools by itself
        maps = (backbone.vision_encoder if siglip else backbone)(images * scale + offset)
        expected = maps if siglip else keras.ops.mean(maps, (1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_layers_are_in_groups_from_input_to_output(folder):
    model = build(folder)
    groups = model.pretrained.groups
    grouped = [id(weight) for layer in model.pretrained.layers for weight in layer.weights]
    backbone = next(layer for layer in model.layers if isinstance(layer, keras_hub.models.Backbone))
    assert sorted(grouped) == sorted(id(weight) for weight in backbone.weights)
    counts = {"EfficientNetBackbone": 3, "ResNetBackbone": 3, "ViTBackbone": 4, "SigLIPVisionEncoder": 5}
    assert len(groups) == counts[type(backbone).__name__]
    assert grouped[0] == id(backbone.weights[0])


def test_learning_rates_shrink_towards_the_input(efficientnet):
    model = build(efficientnet, backbone_learning_rate=0.01, layer_decay=0.5)
    factors = model.pretrained.learning_rate_factors(0.1)
    rates = [factors[group[0].variables[0].path] for group in model.pretrained.groups]
    assert rates == pytest.approx([0.025, 0.05, 0.1])


@pytest.mark.slow
def test_a_backbone_is_trained_from_the_epoch_that_the_config_says(efficientnet):
    for freeze, changed in ((False, [False, True]), (True, [False, False])):
        model = build(efficientnet, freeze=freeze)
        given = [weight.numpy() for layer in model.pretrained.layers for weight in layer.weights]
        model.compile(
            adam(learning_rate=0.01, weight_decay=0.0, clip_norm=None, average_decay=None), "mse", run_eagerly=False
        )
        model.optimizer.build(model.trainable_variables)
        seen = []

        class Note(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                now = [weight.numpy() for layer in self.model.pretrained.layers for weight in layer.weights]
                seen.append(any(not np.array_equal(a, b) for a, b in zip(given, now, strict=True)))  # noqa: B023

        images, labels = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)), np.ones((8, 1))
        model.fit({"image": images}, labels, epochs=2, verbose=0, callbacks=[Unfreeze(), Note()])
        assert seen == changed
        if freeze:  # no moments of weights that are never trained
            assert len(model.trainable_variables) == 2


@pytest.mark.parametrize(("family", "blocks"), [("ViT", 2), ("SigLIP", 3)])  # the latter has one more, to pool
def test_low_rank_updates_are_trained_in_place_of_attention_weights(family, blocks, tmp_path):
    preset = WRITERS[family](tmp_path / "preset")
    model = build(preset, lora_rank=2)
    names = [weight.name for weight in model.trainable_weights]
    assert sum(name.startswith("lora_") for name in names) == 2 * 2 * blocks  # query and value
    images = {"image": np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))}
    features = [keras.Model(each.inputs, each.features)(images) for each in (model, build(preset))]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "changes", "side", "expected"),
    [
        ("EfficientNet", {"lora_rank": 4}, 16, r"models\.pretrained\.lora_rank: .* has no attention layers"),
        ("ViT", {"lora_rank": 4, "freeze": True}, 16, r"models\.pretrained\.lora_rank: has no effect"),
        ("SigLIP", {}, 24, r"preprocessing\.image_size: .* does not take images of 24 pixels; set it to 16"),
        ("ViT", {}, 24, r"preprocessing\.image_size: .* does not take images of 24 pixels; set it to 16"),
        ("ViT", {}, 20, r"preprocessing\.image_size: .* does not take images of 20 pixels; set it to 16"),
        ("EfficientNet", {"weights": "nowhere.h5"}, 16, r"models\.pretrained\.weights: no such file: nowhere.h5"),
    ],
)
def test_settings_that_do_not_fit_get_one_line(preset, changes, side, expected, tmp_path):
    with pytest.raises(UserError, match=expected) as caught:
        build(WRITERS[preset](tmp_path / "preset"), side, **changes)
    assert "\n" not in str(caught.value)


def test_weights_of_a_keras_application_come_from_a_file(tmp_path):
    source = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(tmp_path / "backbone.weights.h5")
    model = build("mobilenet_v3_small", 32, weights=str(tmp_path / "backbone.weights.h5"))
    given = {id(weight): weight for layer in model.pretrained.layers for weight in layer.weights}
    assert len(given) == len(source.weights)
    image = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    features = keras.Model(model.inputs, model.features)({"image": image}, training=False)
    np.testing.assert_allclose(features, keras.ops.mean(source(image, training=False), (1, 2)), rtol=1e-4, atol=1e-5)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="does not contain the weights of mobilenet_v3_small without its head"):
        build("mobilenet_v3_small", 32, weights=str(tmp_path / "other.weights.h5"))
    with pytest.raises(UserError, match=r"preprocessing\.image_size: mobilenet_v3_small does not take images of 16"):
        build("mobilenet_v3_small", 16, weights="none")


@pytest.mark.slow
def test_a_convnext_takes_pixels_as_they_are_and_has_a_group_per_size_of_its_maps():
    model = build("convnext_tiny", 64, weights="none", layer_decay=0.5)
    source = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(64, 64, 3))
    weights = [weight for layer in model.pretrained.layers for weight in layer.weights]
    assert [weight.shape for weight in weights] == [weight.shape for weight in source.weights]
    for weight, own in zip(weights, source.weights, strict=True):
        own.assign(weight)
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    features = keras.Model(model.inputs, model.features)({"image": image}, training=False)
    np.testing.assert_allclose(features, keras.ops.mean(source(image, training=False), (1, 2)), rtol=1e-4, atol=1e-5)
    assert len(model.pretrained.groups) == 4


@pytest.mark.slow
def test_features_of_a_frozen_backbone_are_computed_once(images, efficientnet, tmp_path, monkeypatch):
    computed = []
    compute = FeatureEncoder._compute

    def count(self, *inputs):
        computed.append(len(inputs[0]))
        return compute(self, *inputs)

    monkeypatch.setattr(FeatureEncoder, "_compute", count)
    # Adam would make the differences of rounding as large as the gradients that are almost zero.
    plain = ["optimizer.name=gradient_descent", "optimizer.learning_rate=0.1"]
    trained, run = train(CONFIG, frozen(images, efficientnet, *plain), tmp_path / "fast")
    assert len(computed) == 2  # train and validation, of fewer than 256 images each
    once = sum(computed)
    slow, _ = train(CONFIG, frozen(images, efficientnet, *plain, "batches.cache=false"), tmp_path / "slow")
    assert sum(computed) == once  # not this way
    pd.testing.assert_frame_equal(history(tmp_path / "fast"), history(tmp_path / "slow"), rtol=1e-3, atol=1e-5)
    for fast_weight, slow_weight in zip(trained.model.weights, slow.model.weights, strict=True):
        np.testing.assert_allclose(fast_weight, slow_weight, rtol=1e-3, atol=1e-4)
    for split, scores in run.metrics().items():
        assert scores == pytest.approx(Run.open(tmp_path / "slow").metrics()[split], rel=1e-3, abs=1e-4)
    learner, encoder, batches = head_and_encoder(trained.model, trained.preprocessor, trained.config.batches)
    assert len(learner.layers) == 3 and batches["cache"] is True and isinstance(encoder, FeatureEncoder)
    trained.preprocessor.augmentation["flip"] = True
    assert head_and_encoder(trained.model, trained.preprocessor, {})[0] is trained.model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "freeze"),
    [
        ("EfficientNet", "true"),
        *((family, "false") for family in ("ViT", "ResNet", "SigLIP")),
    ],
)
def test_a_run_resumes_exports_and_answers_without_the_preset(family, freeze, images, tmp_path, monkeypatch):
    how = [f"models.pretrained.freeze={freeze}", "models.pretrained.unfreeze_after_epochs=1", "training.epochs=2"]
    settings = frozen(images, WRITERS[family](tmp_path / "preset"), *how)
    _, whole = train(CONFIG, settings, tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        interrupt_after(patched, 2)
        train(CONFIG, settings, tmp_path / "parts")
    _, parts = train(CONFIG, settings, tmp_path / "parts", resume=True)
    assert parts.metrics() == whole.metrics()
    assert history(tmp_path / "parts").equals(history(tmp_path / "whole"))

    def no_preset(*arguments):
        raise AssertionError("a run needs no preset")

    monkeypatch.setattr("pipelines.presets._local_folder", no_preset)
    result = invoke("export", tmp_path / "parts", "--to", tmp_path / "export")
    assert result.exit_code == 0, result.output
    image = str(sorted((images / "cat").iterdir())[0])
    exported = result.stdout.strip()
    answers = [
        json.loads(invoke("predict", each, image, "--json").stdout)[0] for each in (tmp_path / "parts", exported)
    ]
    assert answers[0]["label"] == answers[1]["label"]
    assert answers[0]["probability"] == pytest.approx(answers[1]["probability"], abs=1e-5)
    assert load_trained_model(parts).preprocessor.preset.family == family


@pytest.mark.slow
@pytest.mark.figures
def test_a_report_shows_where_a_backbone_looks(images, efficientnet, tmp_path):
    result = invoke("train", CONFIG, *sets(frozen(images, efficientnet)), "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert {"grad_cam.png", "feature_maps.png"} <= {path.name for path in (tmp_path / "run/report").iterdir()}
