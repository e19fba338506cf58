"""From the columns of a house to model inputs, and from a price to a label, in graph.

Shapes: B houses, N training houses, C columns, F numeric features, V categories of all columns together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic reads the standard one from Python 3.12 on

from pipelines.batches import tensors
from pipelines.data.tables import input_name
from pipelines.errors import UserError, did_you_mean
from pipelines.task import Preprocessor, Tensors
from pipelines.tasks.house_prices.neighbours import KnownHouses, neighbour_labels
from pipelines.tasks.house_prices.sources import TARGET

QUANTILES = 1001  # points kept of each feature's distribution; models take their bins from them
SKEWED = 1.0  # skewness from which a column counts as skewed
KNOWN = "known"  # the category of a number that is there, in a column where some are missing
ADAPT_BATCH = 256


class Neighbourhood(TypedDict):
    """Training houses that are near in some columns, whose prices become features."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)
    columns: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        Field(min_length=1, description="numeric columns of the distance, each with its weight per standard deviation"),
    ]
    counts: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(min_length=1, description="how many of the nearest houses are averaged, once plainly, once by nearness"),
    ]


@dataclass(frozen=True)
class Features:
    """What a model builder has to know of the inputs."""

    numeric: int
    categories: int
    quantiles: np.ndarray  # (F, QUANTILES) of the normalised training values


class TablePreprocessor(Preprocessor):
    """Normalise numbers, look categories up, scale the target; missing and unknown values have a place in both."""

    def __init__(
        self,
        *,
        numeric_scaling: Annotated[
            Literal["standard", "log", "quantile"],
            Field(
                description="standard: to mean 0, deviation 1; log: the same, after log(1 + x) of skewed columns that"
                " are never negative; quantile: by rank among the training values, to a normal"
            ),
        ],
        numeric_limit: Annotated[
            float, Field(gt=0, description="normalised numbers farther from 0 are cut to this: outliers stay in reach")
        ],
        target_scaling: Annotated[
            Literal["log", "standard"],
            Field(description="log: errors count in proportion to the price; standard: in its own unit"),
        ],
        max_categories: Annotated[
            int, Field(ge=1, description="values of a column looked up, the most frequent first; the rest are unknown")
        ],
        min_count: Annotated[int, Field(ge=1, description="training rows that a value needs to be looked up")],
        ratios: Annotated[
            list[Annotated[list[str], Field(min_length=2, max_length=2)]],
            Field(description="pairs of numeric columns whose quotient is a feature too"),
        ],
        neighbours: Annotated[
            list[Neighbourhood],
            Field(
                description="the prices of near training houses as features; time grows with rows squared, and"
                " metrics on train flatter, as there a house is its own neighbour"
            ),
        ],
    ):
        self.numeric_scaling = numeric_scaling
        self.numeric_limit = numeric_limit
        self.target_scaling = target_scaling
        self.max_categories = max_categories
        self.min_count = min_count
        self.ratios = [[input_name(name) for name in pair] for pair in ratios]
        self.neighbours = [
            {**near, "columns": {input_name(name): weight for name, weight in near["columns"].items()}}
            for near in neighbours
        ]

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn means, deviations, quantiles, vocabularies and the target's scale from the training split."""
        features = train.drop(columns=TARGET)
        numeric = [name for name in features if pd.api.types.is_numeric_dtype(features[name])]
        text = [name for name in features if name not in numeric]
        self._check_columns(numeric)
        if self.target_scaling == "log" and (train[TARGET] <= 0).any():
            count = int((train[TARGET] <= 0).sum())
            problem = f"log needs targets above zero, and {count} of those to train on are not; use standard"
            raise UserError("preprocessing.target_scaling", problem)
        gaps = [name for name in numeric if train[name].isna().any()]
        target = np.log(train[TARGET]) if self.target_scaling == "log" else train[TARGET]
        scale = [target.mean(), target.std(ddof=0) or 1.0, target.min(), target.max()]
        state = {
            "numeric": np.array(numeric, "U"),
            "text": np.array(text, "U"),
            "gaps": np.array(gaps, "U"),
            "vocabulary": np.array(self._vocabulary(features, text, gaps), "U"),
            "target": np.array(scale, "float32"),
        }
        if self.neighbours:
            state["houses"] = train[numeric].to_numpy("float32")
            state["prices"] = train[TARGET].to_numpy("float32")
            state["spread"] = train[numeric].std(ddof=0).replace(0, 1).to_numpy("float32")
        self.restore(state)
        self.restore(state | self._moments(train))

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the state of a preprocessor with the same settings."""
        self.state = dict(state)
        self._numeric, self.text, self.gaps = (
            [str(name) for name in state[key]] for key in ("numeric", "text", "gaps")
        )
        if len(state["vocabulary"]):
            vocabulary = [str(value) for value in state["vocabulary"]]
            self.lookups = [keras.layers.StringLookup(vocabulary=vocabulary, output_mode="multi_hot")]

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Name the columns: float32 numbers, NaN where missing; texts, '' where missing."""
        numbers = {name: tf.TensorSpec([None], tf.float32, name=name) for name in self._numeric}
        texts = {name: tf.TensorSpec([None], tf.string, name=name) for name in self.text}
        return numbers | texts

    @property
    def features(self) -> Features:
        """Give the sizes of the inputs and the quantiles of the numbers."""
        quantiles = self.state["quantiles"]
        return Features(numeric=len(quantiles), categories=len(self.state["vocabulary"]), quantiles=quantiles)

    def inputs(self, raw: Tensors) -> Tensors:
        """Give `numeric` (B, F), zero where missing, and `category` (B, V), ones for the values that each house has."""
        return self._inputs(raw, None)

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Give model inputs, the scaled target (B, 1) and weights of one (B,).

        In training a house is not among its own neighbours, or its price would be its own feature.
        """
        label = self._label(raw[TARGET])
        return self._inputs(raw, raw[TARGET] if training else None), label[:, None], tf.ones_like(label)

    def scaled(self, raw: Tensors, own_price: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Give `numeric` (B, F), zero where missing; `own_price` (B,) is a training house's."""
        if not len(self.state["mean"]):
            return {}
        values = self._numbers(raw, own_price)
        missing = tf.math.is_nan(values)  # asked of the numbers as they came
        values = tf.clip_by_value(self._normalise(values), -self.numeric_limit, self.numeric_limit)
        return {"numeric": tf.where(missing, 0.0, values)}

    def price(self, label: tf.Tensor) -> tf.Tensor:
        """Undo the target's scaling; no answer lies outside the prices of the training split."""
        mean, deviation, low, high = self.state["target"]
        target = tf.clip_by_value(label * deviation + mean, low, high)
        return tf.exp(target) if self.target_scaling == "log" else target

    def _label(self, price: tf.Tensor) -> tf.Tensor:
        mean, deviation, *_ = self.state["target"]
        target = tf.math.log(price) if self.target_scaling == "log" else price
        return (target - mean) / deviation

    def _inputs(self, raw: Tensors, own_price: tf.Tensor | None) -> Tensors:
        inputs = self.scaled(raw, own_price)
        if self.lookups:
            (lookup,) = self.lookups
            values = [tf.strings.join([f"{name}=", raw[name]]) for name in self.text]
            values += [tf.where(tf.math.is_nan(raw[name]), f"{name}=", f"{name}={KNOWN}") for name in self.gaps]
            inputs["category"] = lookup(tf.stack(values, axis=1))[:, 1:]  # the first column is 'unknown'
        return inputs

    def _numbers(self, raw: Tensors, own_price: tf.Tensor | None) -> tf.Tensor:
        """Stack the columns, their ratios and the prices of neighbours: (B, F)."""
        columns = [raw[name] for name in self._numeric]
        houses = tf.stack(columns, axis=1)
        columns += [tf.math.divide_no_nan(raw[above], raw[below]) for above, below in self.ratios]
        for near in self.neighbours:
            weights = np.array([near["columns"].get(name, 0) for name in self._numeric], "float32")
            known = KnownHouses(self.state["houses"], self.state["prices"], self._label(self.state["prices"]))
            columns += neighbour_labels(houses, own_price, known, weights / self.state["spread"], near["counts"])
        return tf.stack(columns, axis=1)

    def _normalise(self, values: tf.Tensor) -> tf.Tensor:
        if self.numeric_scaling == "quantile":
            share = _ranks(values, self.state["raw_quantiles"]) / (QUANTILES - 1)
            values = tf.math.ndtri(tf.clip_by_value(share, 1 / QUANTILES, 1 - 1 / QUANTILES))
        if self.numeric_scaling == "log":
            values = tf.where(self.state["skewed"], tf.math.log1p(tf.maximum(values, 0.0)), values)
        return (values - self.state["mean"]) / self.state["deviation"]

    def _moments(self, train: pd.DataFrame) -> dict[str, np.ndarray]:
        rows = tf.data.Dataset.from_tensor_slices(tensors(train)).batch(ADAPT_BATCH)
        numbers = rows.map(lambda raw: self._numbers(raw, raw[TARGET]), num_parallel_calls=tf.data.AUTOTUNE)
        values = np.concatenate([batch.numpy() for batch in numbers]).astype("float64")
        at = np.linspace(0, 1, QUANTILES)
        self.state["raw_quantiles"] = np.nanquantile(values, at, axis=0).T.astype("float32")
        self.state["skewed"] = (pd.DataFrame(values).skew().to_numpy() > SKEWED) & (np.nanmin(values, axis=0) >= 0)
        self.state["mean"], self.state["deviation"] = np.float32(0), np.float32(1)
        scaled = self._normalise(tf.constant(values, tf.float32)).numpy().astype("float64")
        mean, deviation = np.nanmean(scaled, axis=0), np.nanstd(scaled, axis=0)
        deviation[deviation == 0] = 1.0
        quantiles = np.nanquantile((scaled - mean) / deviation, at, axis=0).T
        arrays = {"mean": mean, "deviation": deviation, "quantiles": quantiles}
        learnt = {name: array.astype("float32") for name, array in arrays.items()}
        return learnt | {key: self.state[key] for key in ("raw_quantiles", "skewed")}

    def _vocabulary(self, features: pd.DataFrame, text: list[str], gaps: list[str]) -> list[str]:
        vocabulary = []
        for name in text:
            counts = features[name].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
            frequent = counts.index[counts >= self.min_count]
            vocabulary += [f"{name}={value}" for value in frequent[: self.max_categories]]
        return vocabulary + [f"{name}={value}" for name in gaps for value in ("", KNOWN)]

    def _check_columns(self, numeric: list[str]) -> None:
        named = {
            "ratios": [name for pair in self.ratios for name in pair],
            "neighbours": [name for near in self.neighbours for name in near["columns"]],
        }
        for setting, names in named.items():
            for name in names:
                if name not in numeric:
                    hint = did_you_mean(name, numeric)
                    raise UserError(f"preprocessing.{setting}", f"no numeric column '{name}'{hint}")


def _ranks(values: tf.Tensor, quantiles: np.ndarray) -> tf.Tensor:
    """Place values (B, F) among a column's quantiles (F, Q), 0 to Q - 1, in between linearly; NaN stays NaN.

    A value that several quantiles equal gets the middle of them, so that a frequent value lies where it belongs.
    """
    columns = tf.transpose(values)
    first = tf.searchsorted(quantiles, columns, side="left")
    after = tf.searchsorted(quantiles, columns, side="right")
    below = tf.clip_by_value(after - 1, 0, quantiles.shape[1] - 2)
    low, high = (tf.gather(quantiles, below + step, batch_dims=1) for step in (0, 1))
    between = tf.cast(below, tf.float32) + tf.math.divide_no_nan(columns - low, high - low)
    ties = tf.cast(first + after - 1, tf.float32) / 2
    ranks = tf.where(after > first, ties, tf.clip_by_value(between, 0.0, quantiles.shape[1] - 1.0))
    return tf.transpose(tf.where(tf.math.is_nan(columns), columns, ranks))
