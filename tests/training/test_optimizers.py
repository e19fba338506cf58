"""Optimisers and schedules against their formulas."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.training.optimizers import OPTIMIZERS, SCHEDULES, LastUpdate, accumulate_gradients

STEP = {"learning_rate": 0.1, "weight_decay": 0.0, "clip_norm": None, "average_decay": None}


def minimise(optimizer, steps=1, start=(4.0, -3.0)):
    """Take steps down x^2 / 2, whose gradient is x."""
    variable = keras.Variable(np.array(start, "float32"), name="kernel")
    optimizer.build([variable])
    for _ in range(steps):
        optimizer.apply([keras.ops.copy(variable.value)], [variable])
    return optimizer, variable


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_finds_the_minimum(name):
    _, variable = minimise(OPTIMIZERS[name](**STEP), steps=300)
    assert np.abs(variable.numpy()).max() < 0.2


def test_gradient_descent_and_momentum_follow_their_formulas():
    _, variable = minimise(OPTIMIZERS["gradient_descent"](**STEP), steps=2)
    np.testing.assert_allclose(variable.numpy(), np.array([4.0, -3.0]) * 0.9**2, rtol=1e-6)
    _, variable = minimise(OPTIMIZERS["momentum"](**STEP, momentum=0.5), steps=2)
    x, velocity = np.array([4.0, -3.0]), 0.0
    for _ in range(2):
        velocity = 0.5 * velocity - 0.1 * x
        x = x + velocity
    np.testing.assert_allclose(variable.numpy(), x, rtol=1e-6)


def test_long_gradients_are_cut():
    _, variable = minimise(OPTIMIZERS["gradient_descent"](**{**STEP, "clip_norm": 1.0}))
    np.testing.assert_allclose(variable.numpy(), [4 - 0.1 * 4 / 5, -3 + 0.1 * 3 / 5], rtol=1e-5)


def test_weights_decay_apart_from_the_gradient():
    optimizer = OPTIMIZERS["adamw"](**{**STEP, "weight_decay": 0.5})
    variables = [keras.Variable(np.array([1.0], "float32"), name=name) for name in ("kernel", "bias")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(1)] * 2, variables)
    np.testing.assert_allclose([v.numpy()[0] for v in variables], [1 - 0.1 * 0.5, 1.0], rtol=1e-6)


def test_adamw_forgets_squared_gradients_as_told():
    for beta_2 in (0.5, 0.9):
        optimizer = OPTIMIZERS["adamw"](**STEP, beta_2=beta_2)
        variable = keras.Variable(np.array([0.0], "float32"), name="kernel")
        optimizer.build([variable])
        mean = square = place = 0.0
        for step, gradient in enumerate((1.0, 3.0), 1):
            optimizer.apply([keras.ops.array([gradient])], [variable])
            mean, square = 0.9 * mean + 0.1 * gradient, beta_2 * square + (1 - beta_2) * gradient**2
            place -= 0.1 * mean / (1 - 0.9**step) / (square / (1 - beta_2**step)) ** 0.5
        np.testing.assert_allclose(variable.numpy(), [place], rtol=1e-4)


def test_weights_are_averaged():
    optimizer, variable = minimise(OPTIMIZERS["gradient_descent"](**{**STEP, "average_decay": 0.9}), steps=5)
    optimizer.finalize_variable_values([variable])
    x = average = np.array([4.0, -3.0])
    for step in range(5):
        x = 0.9 * x
        average = x if step == 0 else 0.9 * average + 0.1 * x
    np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5)


IDS, NUMBERS = np.random.default_rng(0).integers(0, 6, (16, 3)), np.random.default_rng(1).normal(size=(16, 1))


def trained_in(sizes, name, accumulate=1, embedded=False, jit_compile=False):
    """Train for 3 epochs in mini-batches of these sizes; return the weights, then their averages, then the rate."""
    keras.utils.set_random_seed(0)
    first = keras.layers.Embedding(6, 4) if embedded else keras.layers.Dense(4)
    model = keras.Sequential([keras.Input((3,)), first, keras.layers.Flatten(), keras.layers.Dense(1)])
    slow = next(variable.path for variable in model.variables)
    schedule = SCHEDULES["cosine"](0.05, -(-len(sizes) // accumulate), 3, warmup_epochs=1.0, final_share=0.1)
    settings = {"weight_decay": 0.1, "clip_norm": None if embedded else 0.5, "average_decay": 0.8}
    optimizer = OPTIMIZERS[name](learning_rate=schedule, **settings)
    optimizer.factors = {slow: 0.5}
    if accumulate > 1:
        accumulate_gradients(optimizer, schedule, accumulate)
    model.compile(optimizer, "mse", jit_compile=jit_compile)
    batches = ((IDS[start:stop], NUMBERS[start:stop]) for start, stop in [*pairwise(np.cumsum([0, *sizes]))] * 3)
    callbacks = [LastUpdate()] if accumulate > 1 else []
    model.fit(batches, steps_per_epoch=len(sizes), epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
    weights = model.get_weights()
    optimizer.finalize_variable_values(model.trainable_variables)
    return [*weights, *model.get_weights(), float(optimizer.learning_rate)]


def are_close(given, expected):
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_mini_batches_of_one_update_are_like_a_large_one(name):
    are_close(trained_in([2] * 8, name, accumulate=4), trained_in([8] * 2, name))


def test_the_last_update_of_an_epoch_may_have_fewer_mini_batches():
    several = trained_in([2] * 8, "adamw", accumulate=3, jit_compile=True)
    are_close(several, trained_in([6, 6, 4], "adamw"))


def test_gradients_of_embeddings_are_accumulated():
    # Without momentum: Keras takes the norm and the squares of an embedding's gradient before it adds up those of one
    # row, unless they are accumulated.
    several = trained_in([2] * 8, "gradient_descent", accumulate=4, embedded=True)
    are_close(several, trained_in([8] * 2, "gradient_descent", embedded=True))


def rate(name, step, warmup_epochs=0.0, **settings):
    """Give the learning rate of a schedule of height 1 over 10 epochs of 5 steps."""
    return float(SCHEDULES[name](1.0, 5, 10, warmup_epochs=warmup_epochs, **settings)(step))


@pytest.mark.parametrize("name", ["gradient_descent", "adam"])
def test_gradients_of_a_row_of_an_embedding_are_summed_first(name):
    tables: list[np.ndarray] = []
    twice = tf.IndexedSlices(tf.constant([[3.0, 0.0], [3.0, 0.0]]), tf.constant([1, 1]), tf.constant([3, 2]))
    for gradient in (twice, tf.convert_to_tensor(twice)):
        table = keras.Variable(np.zeros((3, 2)), name="embeddings")
        optimizer = OPTIMIZERS[name](**{**STEP, "clip_norm": 1.0})
        optimizer.build([table])
        optimizer.apply([gradient], [table])
        tables.append(table.numpy())
    np.testing.assert_allclose(*tables, rtol=1e-6)


def test_schedules_follow_their_formulas():
    for step in (0, 7, 25, 49):
        epochs = step / 5
        assert rate("constant", step) == 1
        assert rate("inverse_time", step, decay_rate=0.5, decay_epochs=2) == pytest.approx(1 / (1 + 0.5 * epochs / 2))
        assert rate("exponential", step, decay_rate=0.5, decay_epochs=2) == pytest.approx(0.5 ** (epochs / 2), rel=1e-5)
        cosine = 0.1 + 0.9 * (1 + np.cos(np.pi * epochs / 10)) / 2
        assert rate("cosine", step, final_share=0.1) == pytest.approx(cosine, rel=1e-5)


def test_the_learning_rate_warms_up_first():
    warmed = {"warmup_epochs": 2.0, "final_share": 0.0}
    assert [rate("cosine", step, **warmed) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate("cosine", 50, **warmed) == pytest.approx(0, abs=1e-6)


def test_a_step_schedule_falls_at_its_epochs_after_the_warm_up():
    rate = SCHEDULES["step"](1.0, 10, 6, warmup_epochs=1, at_epochs=[2, 4], share=0.1)
    values = [float(rate(step)) for step in (4, 15, 25, 35, 45, 55)]
    np.testing.assert_allclose(values, [0.5, 1.0, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def test_the_inverse_square_root_falls_from_its_warm_up_on():
    rate = SCHEDULES["inverse_square_root"](0.1, 10, 99, warmup_epochs=2)
    steps = [float(rate(step)) for step in range(2000)]
    assert steps[0] == pytest.approx(0.1 / 20)
    assert max(steps) == pytest.approx(0.1)
    for step in (20, 60, 1999):  # Vaswani et al. 2017, equation 3: in proportion to step ** -0.5
        assert steps[step] == pytest.approx(0.1 * (20 / step) ** 0.5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_scales_the_learning_rate_of_its_variable(name):
    steps = []
    for rate, factor in ((0.1, 0.25), (0.025, 1.0)):
        optimizer = OPTIMIZERS[name](**{**STEP, "learning_rate": rate})
        variable = keras.Variable(np.array([4.0, -3.0], "float32"), name="slow")
        optimizer.factors = {variable.path: factor}
        optimizer.build([variable])
        for _ in range(3):
            optimizer.apply([keras.ops.copy(variable.value)], [variable])
        steps.append(variable.numpy())
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-6)
