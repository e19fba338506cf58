"""The house-price implementation of the `Task` interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from pydantic import Field
from sklearn import metrics

from pipelines.audit.cells import Cells
from pipelines.statistics.neighbours import neighbour_means
from pipelines.task import AnswerTable, Confidence, Endpoint, NumericEndpoint, Task, Tensors, evenly_spaced, mean_of
from pipelines.tasks.house_prices import numeric, sources
from pipelines.tasks.house_prices.explanations import draw_importance, explain, permutation_importance
from pipelines.tasks.house_prices.inputs import read_houses
from pipelines.tasks.house_prices.intervals import fit_intervals, interval, interval_metrics
from pipelines.tasks.house_prices.models import MODELS
from pipelines.tasks.house_prices.preprocessing import TablePreprocessor
from pipelines.tasks.house_prices.sources import FIELDS, TARGET

EXPLAINED = 32  # houses of which an export's explanations are checked: each takes a gradient at many points
DRAWN = 20_000  # houses in a figure; of more, evenly spaced ones
COMPARED = 20_000  # houses of train, and asked ones, of the nearest neighbours; of more, evenly spaced ones
BEYOND = 0.5  # intervals may go this far beyond the range of the training prices, in widths of it


def squared_error() -> keras.Loss:
    """Mean squared error of the scaled price, averaged over the ensemble members."""
    return keras.losses.MeanSquaredError()


def absolute_error() -> keras.Loss:
    """Mean absolute error of the scaled price, averaged over the ensemble members."""
    return keras.losses.MeanAbsoluteError()


def huber(
    *, delta: Annotated[float, Field(gt=0, description="error, in scaled prices, above which the loss is linear")]
) -> keras.Loss:
    """Huber loss: quadratic for small errors and linear for large ones (Huber 1964)."""
    return keras.losses.Huber(delta)


@dataclass(frozen=True)
class PriceLesson:
    """Learn from the prices that a teacher predicts, scaled as the labels, with the squared error."""

    teacher: keras.Model
    theirs: TablePreprocessor
    own: TablePreprocessor

    def soft_labels(self, raw: Tensors) -> tf.Tensor:
        """Return the teacher's prices in the scale of the labels (B, 1)."""
        answer = TASK.answer_inputs(self.teacher, self.theirs, self.theirs.inputs(raw))
        return self.own.label(answer["price"])[:, None]

    def loss(self, labels: keras.KerasTensor, soft: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the squared error, averaged over the ensemble members (B,)."""
        return keras.ops.mean(keras.ops.square(outputs - soft), axis=-1)


class HousePrices(Task[TablePreprocessor, keras.Model]):
    """Predict a number from a table of columns."""

    sources = {"embedded": sources.embedded, "files": sources.files, "tfds": sources.tfds}
    preprocessor = TablePreprocessor
    models = MODELS
    losses = {"squared_error": squared_error, "absolute_error": absolute_error, "huber": huber}
    metrics = {"rmse": "min", "mae": "min", "r2": "max", "rmsle": "min"}
    main_metric = staticmethod(
        lambda preprocessing: "rmsle" if preprocessing.get("target_scaling") == "log" else "rmse"
    )
    fields = FIELDS
    calibrates = True
    limits = (
        "- The model was trained on prices of one place and period. Prices differ in other places and change later.\n"
        "- Predictions are always within the range of the training prices, however large or small a house is.\n"
        "- Categories that are not in the training data are treated as unknown. Numbers far outside the training range"
        " are clipped.\n"
        "- The interval of a price, if there is one, has its coverage over all houses together, not for each kind of"
        " house. New houses that differ from the training data are covered less often.\n"
        "- Columns such as the district may be proxies for groups of people. Do not use the model for decisions about"
        " people."
    )

    def answer_inputs(
        self, model: keras.Model, preprocessor: TablePreprocessor, inputs: Tensors, outputs: tf.Tensor | None = None
    ) -> Tensors:
        """Return the price (B,) in the unit of the target: the mean over the members, with the scaling undone.

        A calibrated model also answers the bounds of an interval, `price_low` and `price_high` (B,).
        """
        outputs = model(inputs, training=False) if outputs is None else outputs
        label = keras.ops.mean(outputs, axis=-1)
        answer = {"price": preprocessor.price(label)}
        if preprocessor.confidence:
            low, high = interval(preprocessor.confidence, inputs, label)
            answer["price_low"] = tf.minimum(answer["price"], preprocessor.price(low, BEYOND))
            answer["price_high"] = tf.maximum(answer["price"], preprocessor.price(high, BEYOND))
        return answer

    def calibrate(
        self,
        model: keras.Model,
        preprocessor: TablePreprocessor,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        coverage: float,
        seed: int,
    ) -> Confidence:
        """Fit an interval around the price by conformalized quantile regression."""
        return fit_intervals(model, preprocessor, train, validation, coverage, seed)

    def confidence_metrics(
        self,
        model: keras.Model,
        preprocessor: TablePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, float]:
        """Return the coverage and the mean width of the intervals."""
        return interval_metrics(examples[TARGET].to_numpy("float64"), answers)

    def teach(
        self, teacher: keras.Model, theirs: TablePreprocessor, own: TablePreprocessor, temperature: float
    ) -> PriceLesson:
        """Learn from the teacher's prices; a temperature has no meaning for them."""
        return PriceLesson(teacher, theirs, own)

    def beliefs(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Sequence[str]]:
        """Return the predicted prices."""
        return answers["price"].astype("float64"), ()

    def endpoints(self, model: keras.Model, preprocessor: TablePreprocessor) -> dict[str, Endpoint]:
        """Return endpoints that answer the price, and what each column adds to it."""
        explaining = Endpoint(partial(explain, model, preprocessor), preprocessor.signature, compared=EXPLAINED)
        return {**super().endpoints(model, preprocessor), "explain": explaining}

    def numeric_endpoint(self, model: keras.Model, preprocessor: TablePreprocessor) -> NumericEndpoint | None:
        """Return an endpoint that takes numbers as they are and categories as indices; None for text columns."""
        if preprocessor.text_columns:
            return None
        return NumericEndpoint(
            answer=lambda raw: self.answer_inputs(model, preprocessor, numeric.inputs(preprocessor, raw)),
            signature=numeric.signature(preprocessor),
            numbers=partial(numeric.numbers, preprocessor),
            reading=numeric.reading(preprocessor),
        )

    def compute_metrics(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compute RMSE and MAE in the unit of the target, R2, and RMSLE, in which negative predictions count as zero.

        R2 is NaN for a single example. RMSLE is NaN if a target is negative.
        """
        true, price = examples[TARGET].to_numpy(), answers["price"].astype("float64")
        log_error = float("nan")
        if (true >= 0).all():
            log_error = metrics.root_mean_squared_log_error(true, np.maximum(price, 0))
        return {
            "rmse": float(metrics.root_mean_squared_error(true, price)),
            "mae": float(metrics.mean_absolute_error(true, price)),
            "r2": float(metrics.r2_score(true, price)) if len(true) > 1 else float("nan"),
            "rmsle": float(log_error),
        }

    def metric_sums(
        self, metric: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
        """Return the squared, absolute or squared logarithmic errors; for R2 also the prices and their squares."""
        true, price = examples[TARGET].to_numpy("float64"), answers["price"].astype("float64")
        if metric == "mae":
            return mean_of(np.abs(price - true))
        if metric == "r2":
            near = true - true.mean()  # a difference of large squares would lose digits
            each = np.stack([(price - true) ** 2, near, near**2, np.ones(len(true))], axis=1)
            return each, lambda s: 1 - s[..., 0] / (s[..., 2] - s[..., 1] ** 2 / s[..., 3])
        errors = price - true if metric == "rmse" else np.log1p(np.maximum(price, 0)) - np.log1p(true)
        sums, mean = mean_of(errors**2)
        return sums, lambda drawn: np.sqrt(mean(drawn))

    def baseline_metrics(
        self, preprocessor: TablePreprocessor, train: pd.DataFrame, examples: pd.DataFrame
    ) -> dict[str, float]:
        """Return the best value of each metric that a constant prediction reaches.

        The constants are the mean, the median and the geometric mean of the training prices.
        """
        price = train[TARGET].to_numpy("float64")
        geometric = np.expm1(np.log1p(np.maximum(price, 0)).mean())
        constants = [np.full(len(examples), each) for each in (price.mean(), np.median(price), geometric)]
        scores = pd.DataFrame([self.compute_metrics(examples, {"price": each}) for each in constants])
        return {name: float(scores[name].agg(best, skipna=False)) for name, best in self.metrics.items()}

    def simple_metrics(self, train: pd.DataFrame, examples: pd.DataFrame) -> dict[str, dict[str, float]]:
        """Return the metrics of the five nearest neighbours by all columns; the mean of their logarithmic prices."""
        known, asked = (evenly_spaced(table, COMPARED) for table in (train, examples))
        features = Cells(pd.concat([known, asked]).drop(columns=TARGET)).features
        logarithms = np.log1p(np.maximum(known[TARGET].to_numpy("float64"), 0))
        means = neighbour_means(features[: len(known)], logarithms, features[len(known) :])
        return {"nearest neighbours": self.compute_metrics(asked, {"price": np.expm1(means)})}

    def predictions(self, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """List the houses with their actual and predicted prices."""
        prices = {"target": examples[TARGET].to_numpy(), "answer": answers["price"]}
        return examples.drop(columns=TARGET).reset_index(drop=True).assign(**prices)

    def pictures(
        self,
        model: keras.Model,
        preprocessor: TablePreprocessor,
        examples: pd.DataFrame,
        answers: Mapping[str, np.ndarray],
    ) -> dict[str, Figure | str]:
        """Draw predicted against actual prices, and the residuals."""
        some = slice(None, None, -(-len(examples) // DRAWN))
        true, price = examples[TARGET].to_numpy()[some], answers["price"][some]
        return {"predicted_against_actual": _against(true, price), "residuals": _residuals(true, price)}

    def validation_pictures(
        self,
        model: keras.Model,
        preprocessor: TablePreprocessor,
        examples: pd.DataFrame,
        answer: AnswerTable,
        seed: int,
    ) -> dict[str, Figure | str]:
        """Draw the permutation importance of the columns."""
        found, houses = permutation_importance(preprocessor, examples, answer, seed)
        return {"importance": draw_importance(found, preprocessor.target_scaling == "log", houses)}

    def client_inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Format dates as clients send them."""
        dates = examples.select_dtypes("datetime").columns
        return examples.assign(**{name: examples[name].dt.strftime("%Y-%m-%d").fillna("") for name in dates})

    def read_inputs(
        self, inputs: Sequence[str], file: str | None, columns: Mapping[str, type], reading: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Read houses from JSON objects, one per input, or from the rows of a table.

        The columns must be those of the training data. A column may be omitted if it had missing values in training.
        """
        return read_houses(inputs, file, columns, reading)


TASK = HousePrices()


def _against(true: np.ndarray, price: np.ndarray) -> Figure:
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    ends = [min(true.min(), price.min()), max(true.max(), price.max())]
    axes.plot(ends, ends, color="black", linewidth=1, label="perfect prediction")
    axes.scatter(true, price, s=8, alpha=0.4)
    axes.set(title=f"Test examples: {len(true):,}", xlabel="actual price", ylabel="predicted price", aspect="equal")
    _thousands(axes.xaxis, axes.yaxis)
    axes.tick_params(axis="x", rotation=30)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _residuals(true: np.ndarray, price: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    residuals = true - price
    left.axhline(0, color="black", linewidth=1)
    left.scatter(price, residuals, s=8, alpha=0.4)
    left.set(title="Residuals by predicted price", xlabel="predicted price", ylabel="actual - predicted")
    right.hist(residuals, bins=60, histtype="stepfilled")
    right.axvline(0, color="black", linewidth=1)
    right.set(title=f"Residuals: median {np.median(residuals):,.4g}", xlabel="actual - predicted", ylabel="examples")
    _thousands(left.xaxis, left.yaxis, right.xaxis)
    for axes in (left, right):
        axes.tick_params(axis="x", rotation=30)
        axes.grid(alpha=0.3)
    return figure


def _thousands(*axes) -> None:
    for axis in axes:
        axis.set_major_formatter("{x:,.10g}")
