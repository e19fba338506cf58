"""Explain a price by its columns: integrated gradients in the graph, and permutation importance as a plot.

Shapes: B houses, C columns, F features of one of the model's inputs.
"""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from sklearn.metrics import root_mean_squared_error

from pipelines.task import AnswerTable, Tensors, evenly_spaced
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor
from pipelines.tasks.house_prices.sources import TARGET

NODES = 64  # points of the Gauss-Legendre quadrature between the typical house and this one
PERMUTED_ROWS = 24_000  # largest number of predictions for the importance of all columns
MOST_HOUSES, REPEATS = 1_000, 3
SHOWN_COLUMNS = 25


def explain(model: keras.Model, preprocessor: TablePreprocessor, raw: Tensors) -> Tensors:
    """Return what each column adds to the price of a typical house, in the unit of the target, by integrated gradients.

    Sundararajan et al. 2017, section 3, over the inputs of the model. The typical house has the mean of each number and
    the most frequent value of each category. `baseline` (B,) is its price. `column` (B, C) and `contribution` (B, C)
    belong together; `baseline` and the contributions add up to `price` (B,).
    """
    inputs = {name: tf.cast(value, tf.float32) for name, value in preprocessor.inputs(raw).items()}
    typical = {name: value * tf.ones_like(inputs[name]) for name, value in preprocessor.typical_inputs().items()}
    away = {name: inputs[name] - typical[name] for name in inputs}

    def price(given: Tensors) -> tf.Tensor:
        return preprocessor.price(ops.mean(model(given, training=False), axis=-1))

    def add(total: Tensors, node: tuple[tf.Tensor, tf.Tensor]) -> Tensors:
        place, weight = node
        between = {name: typical[name] + place * away[name] for name in inputs}
        with tf.GradientTape() as tape:
            tape.watch(between)
            found = price(between)
        slopes = tape.gradient(found, between, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {name: total[name] + weight * slopes[name] for name in inputs}

    places, weights = np.polynomial.legendre.leggauss(NODES)
    nodes = tf.constant((places + 1) / 2, tf.float32), tf.constant(weights / 2, tf.float32)
    slopes = tf.foldl(add, nodes, initializer={name: tf.zeros_like(value) for name, value in inputs.items()})
    shares = preprocessor.column_shares()
    parts = [(slopes[name] * away[name]) @ tf.constant(shares[name]) for name in inputs]
    columns = tf.constant(list(preprocessor.signature))
    rows = tf.shape(parts[0])[0]
    return {
        "column": tf.tile(columns[None], [rows, 1]),
        "contribution": tf.add_n(parts),
        "baseline": price(typical),
        "price": price(inputs),
    }


def permutation_importance(
    preprocessor: TablePreprocessor, examples: pd.DataFrame, answer: AnswerTable, seed: int
) -> tuple[pd.DataFrame, int]:
    """Return how much the root mean squared error of the scaled prices grows if a column is shuffled (Breiman 2001).

    One row per column with the mean and the standard deviation over repeats, largest mean first, and the number of
    houses that were used. The error is that of the logarithms, if the target is scaled so.
    """
    columns = list(preprocessor.signature)
    most = max(2, min(MOST_HOUSES, PERMUTED_ROWS // (REPEATS * len(columns))))
    examples = evenly_spaced(examples, most)
    true = preprocessor.label(tf.constant(examples[TARGET].to_numpy("float64")))
    random = np.random.default_rng(seed)
    parts = [examples]
    for name in columns:
        for _ in range(REPEATS):
            order = random.permutation(len(examples))
            parts.append(examples.assign(**{name: examples[name].to_numpy()[order]}))
    prices = np.split(answer(pd.concat(parts, ignore_index=True))["price"], len(parts))
    errors = np.array([root_mean_squared_error(true, preprocessor.label(tf.constant(price))) for price in prices])
    more = (errors[1:] - errors[0]).reshape(len(columns), REPEATS)
    found = pd.DataFrame({"mean": more.mean(axis=1), "deviation": more.std(axis=1, ddof=1)}, index=columns)
    return found.sort_values("mean", ascending=False, kind="stable"), len(examples)


def draw_importance(found: pd.DataFrame, log_scale: bool, houses: int) -> Figure:
    """Draw the most important columns as bars, with their standard deviation over repeats."""
    shown = found.head(SHOWN_COLUMNS)[::-1]
    figure = Figure(figsize=(8, 1.4 + 0.26 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [_shown(name) for name in shown.index], shown["mean"], xerr=shown["deviation"], color="tab:blue", ecolor="black"
    )
    axes.axvline(0, color="black", linewidth=1)
    of = f", the first {len(shown)} of {len(found)} columns" if len(found) > len(shown) else ""
    axes.set(
        title=f"Permutation importance{of}\nvalidation examples: {houses:,}, shuffled {REPEATS} times; bars: mean and"
        " standard deviation",
        xlabel=f"growth of the error of the {'logarithm of the price' if log_scale else 'price, in its deviations'}",
    )
    axes.margins(y=0.01)
    axes.grid(alpha=0.3, axis="x")
    return figure


def _shown(name: str) -> str:
    return name.replace("$", r"\$") if len(name) <= 30 else f"{name[:20]}...{name[-7:]}".replace("$", r"\$")
