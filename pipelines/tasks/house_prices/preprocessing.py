"""From the columns of a house to model inputs, and from a price to a label, in graph.

Shapes: B houses, F numeric features, V categories of all columns together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.tables import input_names
from pipelines.errors import UserError, did_you_mean
from pipelines.task import Preprocessor, Tensors
from pipelines.tasks.house_prices.sources import TARGET

QUANTILES = 1001  # points kept of each feature's distribution; models take their bins from them
KNOWN = "known"  # the category of a number that is there, in a column where some are missing


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
        target_scaling: Annotated[
            Literal["log", "standard"],
            Field(description="log: errors count in proportion to the price; standard: in its own unit"),
        ],
        max_categories: Annotated[
            int, Field(ge=1, description="values of a column looked up, the most frequent first; the rest are unknown")
        ],
        ratios: Annotated[
            list[Annotated[list[str], Field(min_length=2, max_length=2)]],
            Field(description="pairs of numeric columns whose quotient is a feature too"),
        ],
    ):
        self.target_scaling = target_scaling
        self.max_categories = max_categories
        self.ratios = [[input_names([name])[name] for name in pair] for pair in ratios]

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn means, deviations, quantiles, vocabularies and the target's scale from the training split."""
        features = train.drop(columns=TARGET)
        numeric = [name for name in features if pd.api.types.is_numeric_dtype(features[name])]
        text = [name for name in features if name not in numeric]
        self._check_ratios(numeric)
        if self.target_scaling == "log" and (train[TARGET] <= 0).any():
            raise UserError("preprocessing.target_scaling", "log needs targets above zero; use standard")
        gaps = [name for name in numeric if train[name].isna().any()]
        state = {"numeric": np.array(numeric, "U"), "text": np.array(text, "U"), "gaps": np.array(gaps, "U")}
        state["vocabulary"] = np.array(self._vocabulary(features, text, gaps), "U")
        target = np.log(train[TARGET]) if self.target_scaling == "log" else train[TARGET]
        state["target"] = np.array([target.mean(), target.std(ddof=0) or 1.0, target.min(), target.max()])
        self._set(state | self._moments(features[numeric]))

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the state of a preprocessor with the same settings."""
        self._set(dict(state))

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Name the columns: float32 numbers, NaN where missing; texts, '' where missing."""
        numbers = {str(name): tf.TensorSpec([None], tf.float32, name=str(name)) for name in self.state["numeric"]}
        texts = {str(name): tf.TensorSpec([None], tf.string, name=str(name)) for name in self.state["text"]}
        return numbers | texts

    @property
    def features(self) -> Features:
        """Give the sizes of the inputs and the quantiles of the numbers."""
        quantiles = self.state["quantiles"]
        return Features(numeric=len(quantiles), categories=len(self.state["vocabulary"]), quantiles=quantiles)

    def inputs(self, raw: Tensors) -> Tensors:
        """Give `numeric` (B, F), zero where missing, and `category` (B, V), ones for the values that each house has."""
        inputs = {}
        if len(self.state["mean"]):
            values = (self._numbers(raw) - self.state["mean"]) / self.state["deviation"]
            inputs["numeric"] = tf.where(tf.math.is_nan(values), 0.0, values)
        if len(self.state["vocabulary"]):
            values = [tf.strings.join([f"{name}=", raw[name]]) for name in self._text]
            values += [tf.where(tf.math.is_nan(raw[name]), f"{name}=", f"{name}={KNOWN}") for name in self._gaps]
            (lookup,) = self.lookups
            inputs["category"] = lookup(tf.stack(values, axis=1))[:, 1:]  # the first column is 'unknown'
        return inputs

    def example(self, raw: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Give model inputs, the scaled target (B, 1) and weights of one (B,)."""
        mean, deviation, *_ = self.state["target"].astype("float32")
        target = tf.math.log(raw[TARGET]) if self.target_scaling == "log" else raw[TARGET]
        label = (target[:, None] - mean) / deviation
        return self.inputs(raw), label, tf.ones_like(target)

    def price(self, label: tf.Tensor) -> tf.Tensor:
        """Undo the target's scaling; no answer lies outside the prices of the training split."""
        mean, deviation, low, high = self.state["target"].astype("float32")
        target = tf.clip_by_value(label * deviation + mean, low, high)
        return tf.exp(target) if self.target_scaling == "log" else target

    def _set(self, state: dict[str, np.ndarray]) -> None:
        self.state = state
        self._text = [str(name) for name in state["text"]]
        self._gaps = [str(name) for name in state["gaps"]]
        if len(state["vocabulary"]):
            vocabulary = [str(value) for value in state["vocabulary"]]
            self.lookups = [keras.layers.StringLookup(vocabulary=vocabulary, output_mode="multi_hot")]

    def _check_ratios(self, numeric: list[str]) -> None:
        for name in (name for pair in self.ratios for name in pair):
            if name not in numeric:
                raise UserError("preprocessing.ratios", f"no numeric column '{name}'{did_you_mean(name, numeric)}")

    def _vocabulary(self, features: pd.DataFrame, text: list[str], gaps: list[str]) -> list[str]:
        vocabulary = []
        for name in text:
            counts = features[name].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
            vocabulary += [f"{name}={value}" for value in counts.index[: self.max_categories]]
        return vocabulary + [f"{name}={value}" for name in gaps for value in ("", KNOWN)]

    def _numbers(self, raw: Tensors) -> tf.Tensor:
        columns = [raw[str(name)] for name in self.state["numeric"]]
        columns += [tf.math.divide_no_nan(raw[above], raw[below]) for above, below in self.ratios]
        return tf.stack(columns, axis=1)

    def _moments(self, numbers: pd.DataFrame) -> dict[str, np.ndarray]:
        values = numbers.to_numpy("float32").astype("float64")
        columns = dict(zip(numbers.columns, values.T, strict=True))
        zeros = np.zeros(len(numbers))
        quotients = [np.divide(columns[a], columns[b], out=zeros.copy(), where=columns[b] != 0) for a, b in self.ratios]
        values = np.column_stack([values, *quotients])
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        deviation[deviation == 0] = 1.0
        scaled = (values - mean) / deviation
        quantiles = np.nanquantile(scaled, np.linspace(0, 1, QUANTILES), axis=0).T
        arrays = {"mean": mean, "deviation": deviation, "quantiles": quantiles}
        return {name: array.astype("float32") for name, array in arrays.items()}
