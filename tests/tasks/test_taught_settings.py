"""Settings that show what a part buys, by leaving it out: activation, initializer, shortcut, positions, scaling."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

from pipelines.config.load import load_config
from pipelines.config.read import shipped_config
from pipelines.errors import UserError
from pipelines.tasks import load_task
from pipelines.tasks.cat_classifier.preprocessing import Features as Image
from pipelines.tasks.entity_tagger.preprocessing import SentencePreprocessor
from pipelines.tasks.house_prices.preprocessing import Features as Table
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor
from pipelines.tasks.language_model.preprocessing import Features as Text
from pipelines.tasks.translator.preprocessing import Features as Pairs

TASKS = ("house_prices", "cat_classifier", "entity_tagger", "translator", "language_model")
CONFIGS = {task: load_config(shipped_config(task)) for task in TASKS}
SMALL = {"units": 5, "width": 8, "heads": 2, "feed_forward_units": 12, "image_size": 8, "dropout": 0.0, "l2": 0.0}
SMALL |= {"batch_normalization": False, "linear_skip": False, "crf": False, "variational": False, "word_dropout": 0.0}
ROWS = pd.DataFrame({"tokens": [["Ann", "met", "Bob", "in", "Oslo"]], "tags": [["B-PER", "O", "B-PER", "O", "B-LOC"]]})
RUNGS = [
    (task, name)
    for task in TASKS
    for name, settings in CONFIGS[task].models.items()
    if "initializer" in settings and name not in ("pretrained", "mlp_ple", "gru", "lstm")  # which differ in no setting
]


def tagger() -> SentencePreprocessor:
    made = SentencePreprocessor(**CONFIGS["entity_tagger"].preprocessing)
    made.adapt(ROWS)
    return made


FEATURES = {
    "house_prices": Table(3, 0, np.sort(np.random.default_rng(0).normal(size=(3, 101)), axis=1)),
    "cat_classifier": Image(12, 2, np.full(3, 120, "float32"), np.full(3, 60, "float32")),
    "entity_tagger": tagger().features,
    "translator": Pairs(11, 11, True, 20),
    "language_model": Text(11, 8, lambda: np.arange(11)),
}


def build(task: str, name: str, **changes) -> keras.Model:
    keras.utils.set_random_seed(0)
    known = CONFIGS[task].models[name]
    small = {
        key: [value, value] if isinstance(known[key], list) else value for key, value in SMALL.items() if key in known
    }
    return load_task(task).models[name](FEATURES[task], **{**known, **small, **changes})


def inputs(task: str, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    if task == "house_prices":
        return {"numeric": random.normal(size=(4, 3)).astype("float32")}
    if task == "cat_classifier":
        return {"image": random.uniform(0, 255, (4, 12, 12, 3)).astype("float32")}
    ids = random.integers(3, 5 if task == "entity_tagger" else 11, (4, 5)).astype("int32")
    if task == "translator":
        return {"source": ids, "target": ids[:, ::-1].copy()}
    if task == "language_model":
        return {"tokens": ids}
    characters = random.integers(2, 5, (4, 5, 6)).astype("int32")
    affixes = np.full((4, 5, len(FEATURES[task].affixes)), 2, "int32")
    return {"words": ids, "characters": characters, "casings": ids % 3, "affixes": affixes}


def outputs(model: keras.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    return ops.convert_to_numpy(
        model({name: ops.convert_to_tensor(each) for name, each in given.items()}, training=False)
    )


@pytest.mark.parametrize(("task", "name"), RUNGS)
def test_every_network_has_the_activation_that_is_asked_for(task, name):
    own, linear = (outputs(build(task, name, **each), inputs(task)) for each in ({}, {"activation": "linear"}))
    assert not np.allclose(own, linear, rtol=1e-3)


@pytest.mark.parametrize(
    ("task", "name"),
    [("house_prices", "mlp"), ("cat_classifier", "mlp"), ("cat_classifier", "cnn"), ("cat_classifier", "resnet")],
)
def test_a_network_of_linear_units_is_one_affine_map(task, name):
    pooled = {"pooling": "average"} if name == "cnn" else {}
    one, other = inputs(task, 1), inputs(task, 2)
    mixed = {key: 0.3 * one[key] + 0.7 * other[key] for key in one}

    def bend(activation: str) -> float:
        first, second, between = (
            outputs(build(task, name, activation=activation, **pooled), each) for each in (one, other, mixed)
        )
        return float(np.abs(0.3 * first + 0.7 * second - between).max() / np.abs(first).max())

    assert bend("linear") < 1e-4 < 1e-2 < bend("relu")


@pytest.mark.parametrize(
    ("task", "name"),
    [("entity_tagger", "window"), ("entity_tagger", "rnn"), ("language_model", "neural"), ("language_model", "rnn")],
)
def test_linear_units_add_what_each_token_says(task, name):
    """What a token changes does not depend on the token beside it."""
    given = inputs(task)
    key = "words" if task == "entity_tagger" else "tokens"

    def interaction(activation: str) -> float:
        model, found = build(task, name, activation=activation), {}
        for weight in model.trainable_variables:
            weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=1))
        for first in (3, 4):
            for second in (3, 4):
                given[key][:, 1:3] = first, second
                found[first, second] = outputs(model, given)[:, 2]
        return float(np.abs(found[3, 3] + found[4, 4] - found[3, 4] - found[4, 3]).max())

    assert interaction("linear") < 1e-5 < 1e-3 < interaction("tanh")


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the kernels by path, without those that start as in their paper: characters, embeddings, TabM's heads."""
    apart = ("embedding", "character", "linear_skip", "price/kernel")
    return {
        weight.path: ops.convert_to_numpy(weight)
        for weight in model.trainable_weights
        if weight.name.endswith("kernel") and not any(part in weight.path for part in apart)
    }


@pytest.mark.parametrize(("task", "name"), RUNGS)
def test_every_kernel_is_drawn_as_asked(task, name):
    wide = kernels(build(task, name, initializer={"name": "random_normal", "stddev": 3.0}))
    assert wide and all(2 < np.std(kernel) < 4 for kernel in wide.values() if kernel.size > 60)
    drawn = [kernel.tobytes() for kernel in wide.values()]
    assert len(set(drawn)) == len(drawn)
    assert not any(kernel.any() for kernel in kernels(build(task, name, initializer="zeros")).values())
    assert all(np.std(kernel) < 2 for kernel in kernels(build(task, name)).values())


@pytest.mark.parametrize(
    ("task", "name", "layer"),
    [
        ("house_prices", "mlp", "dense"),
        ("cat_classifier", "mlp", "dense"),
        ("cat_classifier", "cnn", "conv2d"),
        ("entity_tagger", "window", "dense"),
        ("entity_tagger", "rnn", "simple_rnn"),
        ("language_model", "neural", "conv1d"),
    ],
)
def test_units_that_start_equal_stay_equal(task, name, layer):
    def spread(initializer: str) -> tuple[float, float]:
        """Return the largest difference between the units of a layer, and of the bias of the output from its start."""
        model, given = build(task, name, initializer=initializer), inputs(task)
        found = outputs(model, given)
        labels = np.random.default_rng(3).normal(size=found.shape).astype("float32")
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(given, labels, epochs=3, verbose=0)
        first = next(kernel for path, kernel in kernels(model).items() if layer in path)
        return float(np.ptp(first, axis=-1).max()), float(np.abs(outputs(model, given) - found).max())

    (equal, learnt), (differ, _) = spread("zeros"), spread("glorot_uniform")
    assert equal == 0 and learnt > 0 and differ > 0.01


def test_without_shortcuts_a_residual_network_is_a_plain_one():
    plain, residual = (build("cat_classifier", "resnet", depth=14, shortcut=each) for each in ("none", "projection"))
    kinds = [[type(layer).__name__ for layer in model.layers] for model in (plain, residual)]
    assert [each.count("Add") for each in kinds] == [0, 6]
    assert [each.count("Conv2D") for each in kinds] == [13, 15]
    for shortcut, passes in (
        ("none", False),
        ("identity", True),
    ):  # blocks of zeros: only a shortcut passes anything on
        model = build("cat_classifier", "resnet", shortcut=shortcut, initializer="small_random")
        blocks = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][1:]
        for block in blocks:
            block.kernel.assign(np.zeros(block.kernel.shape))
        assert (np.ptp(outputs(model, inputs("cat_classifier")), axis=0) > 0).all() == passes


def test_an_encoder_without_positions_takes_a_sentence_as_a_bag():
    order = np.array([3, 0, 4, 2, 1])
    given = inputs("entity_tagger")
    moved = {name: each[:, order] for name, each in given.items()}
    for positions, bag in (("none", True), ("sinusoidal", False)):
        model = build("entity_tagger", "transformer", positions=positions)
        close = np.allclose(outputs(model, given)[:, order], outputs(model, moved), atol=1e-5)
        assert close == bag
    source, ids = inputs("translator")["source"], inputs("translator")["target"]
    for positions, bag in (("none", True), ("sinusoidal", False), ("learned", False)):
        model = build("translator", "transformer", positions=positions)
        found = [outputs(model, {"source": each, "target": ids}) for each in (source, source[:, order])]
        assert np.allclose(*found, atol=1e-5) == bag


def test_a_causal_block_without_positions_forgets_the_order_of_what_was_before():
    given = inputs("language_model")
    moved = {"tokens": given["tokens"][:, [2, 0, 3, 1, 4]]}
    for positions, bag in (("none", True), ("sinusoidal", False), ("learned", False), ("rotary", False)):
        model = build("language_model", "transformer", layers=1, positions=positions)
        for weight in model.trainable_variables:
            weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=1))
        assert np.allclose(outputs(model, given)[:, -1], outputs(model, moved)[:, -1], atol=1e-5) == bag


def test_numbers_and_prices_may_stay_as_they_are():
    table = pd.DataFrame({"area": [50.0, 100, 9000, np.nan], "rooms": [1.0, 2, 3, 4], "price": [1e5, 2e5, -3e5, 4e5]})
    unscaled = {"numeric_scaling": "none", "target_scaling": "none", "min_count": 1}
    made = TablePreprocessor(**{**CONFIGS["house_prices"].preprocessing, **unscaled})
    made.adapt(table)
    raw = {name: ops.convert_to_tensor(table[name].astype("float32")) for name in table}
    features, label, _ = made.example(raw, training=False)
    np.testing.assert_allclose(features["numeric"][:3], table[["area", "rooms"]][:3])
    assert float(features["numeric"][3, 0]) == pytest.approx(9150 / 3)  # the mean of train stands for a missing number
    np.testing.assert_array_equal(label[:, 0], table["price"])
    np.testing.assert_array_equal(made.price(label[:, 0]), table["price"])
    np.testing.assert_allclose(made.typical_inputs()["numeric"], [9150 / 3, 2.5])
    again = TablePreprocessor(**{**CONFIGS["house_prices"].preprocessing, **unscaled})
    again.restore(made.state)
    np.testing.assert_array_equal(again.inputs(raw)["numeric"], features["numeric"])


def test_pixels_may_stay_as_they_are(tmp_path):
    settings = {**CONFIGS["cat_classifier"].preprocessing, "image_size": 12, "pixel_scaling": "none"}
    made = load_task("cat_classifier").preprocessor(**settings)
    import tensorflow as tf

    images = [tf.io.encode_png(np.full((12, 12, 3), shade, "uint8")).numpy() for shade in (10, 200)]
    made.adapt(pd.DataFrame({"image": images, "label": ["cat", "dog"]}))
    model = load_task("cat_classifier").models["logistic_regression"](made.features, l2=0.0)
    scaling = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    np.testing.assert_array_equal(
        scaling(made.inputs({"image": tf.constant(images)})["image"])[:, 0, 0], [[10.0] * 3, [200.0] * 3]
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("models.mlp.initializer=he_norml", "unknown 'he_norml'; did you mean 'he_normal'?"),
        ("models.mlp.initializer={name: random_normal}", "models.mlp.initializer.stddev: required setting is missing"),
        ("models.mlp.initializer={name: random_normal, stddev: 0}", "should be greater than 0, not 0"),
        ("models.mlp.activation=liner", "unknown 'liner'; did you mean 'linear'?"),
        ("preprocessing.numeric_scaling=nothing", "unknown 'nothing'"),
    ],
)
def test_a_typo_is_found(setting, message):
    with pytest.raises(UserError) as error:
        load_config(shipped_config("house_prices"), [setting])
    assert message in str(error.value)
