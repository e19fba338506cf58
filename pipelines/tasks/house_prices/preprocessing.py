"""Preprocessing of house prices: columns to model inputs, prices to labels. Runs in the graph.

Shapes: B houses, N training houses, C columns, F numeric features, V categories of all columns together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic supports the standard one only from Python 3.12 on

from pipelines.data.batches import raw_batches, tensors
from pipelines.data.tables.columns import input_name, lacks
from pipelines.errors import UserError, did_you_mean
from pipelines.presets import PresetName
from pipelines.storage import scratch_array
from pipelines.task import Preprocessor, Tensors, beyond
from pipelines.tasks.house_prices import dates
from pipelines.tasks.house_prices.neighbours import KnownHouses, neighbour_labels
from pipelines.tasks.house_prices.sources import TARGET
from pipelines.tasks.house_prices.texts import TextEncoder

QUANTILES = 1001  # stored quantiles of each feature; models derive their bins from them
SKEWED = 1.0  # a column is skewed if its skewness is above this
FREE_TEXT = 3  # words of a value, from which on a column may hold free text
KNOWN = "known"  # the category of a present number, in a column with missing values in train
UNKNOWN = 0.5  # warn if more than this share of a split's rows has a value that is not in the vocabulary
ADAPT_BATCH = 256  # rows at a time whose distances to all training rows are in memory
ADAPT_ROWS = 8192
IN_MEMORY = 1 << 28  # bytes of features; more of them are on the disk while their statistics are computed
MOST_RANKED = 1 << 24  # values that quantiles are computed from; of more, evenly spaced ones


@with_config(ConfigDict(extra="forbid", strict=True))
class Neighbourhood(TypedDict):
    """Settings of the features from nearby training houses."""

    columns: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        Field(
            min_length=1,
            description="numeric columns used in the distance, each with its weight per standard deviation",
        ),
    ]
    counts: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(
            min_length=1,
            description="numbers of nearest houses to average over; each adds a plain and a distance-weighted mean",
        ),
    ]


@dataclass(frozen=True)
class Features:
    """Sizes and quantiles of the inputs, for the model builders."""

    numeric: int
    categories: int
    quantiles: np.ndarray  # (F, QUANTILES) of the normalized training values
    text: int = 0  # width of the vectors of all text columns together


class TablePreprocessor(Preprocessor):
    """Normalize numbers, look up categories and scale the target. Missing and unknown values are supported."""

    def __init__(
        self,
        *,
        numeric_scaling: Annotated[
            Literal["none", "standard", "log", "quantile"],
            Field(
                description="standard: to mean 0 and standard deviation 1; log: the same, after log(1 + x) of skewed"
                " columns without negative values; quantile: map the rank among the training values to a normal"
                " distribution; none: no scaling, and no numeric_limit"
            ),
        ],
        numeric_limit: Annotated[
            float, Field(gt=0, description="normalized numbers are clipped to this distance from 0, to limit outliers")
        ],
        target_scaling: Annotated[
            Literal["log", "standard", "none"],
            Field(
                description="log: errors are relative to the price; standard: errors are in the unit of the target, and"
                " the loss in its standard deviations; none: the loss too is in the unit of the target"
            ),
        ],
        max_categories: Annotated[
            int,
            Field(
                ge=1,
                description="maximum number of values per column in the vocabulary; the most frequent are kept, the"
                " others map to the unknown token",
            ),
        ],
        min_count: Annotated[
            int, Field(ge=1, description="a value must occur in this many training rows to be in the vocabulary")
        ],
        ratios: Annotated[
            list[Annotated[list[str], Field(min_length=2, max_length=2)]],
            Field(description="pairs of numeric columns whose quotient is added as a feature"),
        ],
        neighbours: Annotated[
            list[Neighbourhood],
            Field(
                description="prices of nearby training houses as features. The run time grows with the square of the"
                " number of rows. Metrics on the training split are too optimistic, because there each house is its own"
                " neighbor"
            ),
        ],
        text_columns: Annotated[
            list[str],
            Field(
                description="columns of free text, such as a description: the encoder of text_preset turns each into"
                " numbers. A text that is too long for the encoder is truncated"
            ),
        ],
        text_preset: Annotated[
            PresetName | None,
            Field(description="pretrained text encoder of text_columns, which is not trained; null: none"),
        ],
    ):
        self.numeric_scaling = numeric_scaling
        self.numeric_limit = numeric_limit
        self.target_scaling = target_scaling
        self.max_categories = max_categories
        self.min_count = min_count
        self.ratios = [[input_name(name) for name in pair] for pair in ratios]
        self.neighbours: list[Neighbourhood] = [
            {**near, "columns": {input_name(name): weight for name, weight in near["columns"].items()}}
            for near in neighbours
        ]
        self.text_columns = [input_name(name) for name in text_columns]
        self.text_preset = text_preset
        if text_columns and text_preset is None:
            raise UserError("preprocessing.text_preset", "must name a text encoder, because text_columns has columns")

    may_change = ("max_categories", "min_count")

    def adapt(self, train: pd.DataFrame) -> None:
        """Learn means, deviations, quantiles, vocabularies and the scale of the target from the training split.

        Raises:
            UserError: If a setting names a column of another kind, the target cannot be scaled in this way, no column
                has usable values, or the text encoder is not available.
        """
        features = train.drop(columns=TARGET)
        self._check_texts(features)
        numeric, dated, text = self._kinds(features)
        self._check_columns(numeric)
        gaps = _gaps(features, [*numeric, *dated, *self.text_columns])
        vocabulary = self._vocabulary(features, text, gaps)
        if not vocabulary and not numeric and not dated and not self.text_columns:
            problem = (
                f"no column has a value that occurs at least {self.min_count} times in train: {', '.join(text[:5])}"
            )
            raise UserError("preprocessing.min_count", f"{problem}; lower it, or add columns")
        state = {
            "numeric": np.array(numeric, "U"),
            "dates": np.array(dated, "U"),
            "text": np.array(text, "U"),
            "gaps": np.array(gaps, "U"),
            "vocabulary": np.array(vocabulary, "U"),
            "target": self._target_scale(train[TARGET]),
            "origin": np.array([_origin(train[name]) for name in numeric], "float64"),
        }
        if self.neighbours:
            state |= _houses(train, numeric, state["origin"])
            state["spread"] = train[numeric].std(ddof=0).replace(0, 1).fillna(1).to_numpy("float32")
        if self.text_columns:
            state |= self._text_state(train)
        self.restore(state)
        self.restore(state | self._moments(train))
        self.warnings = self._odd_columns(train, vocabulary)

    def extend(self, state: Mapping[str, np.ndarray], train: pd.DataFrame) -> None:
        """Add categories of the training split to a state, and widen the range of the prices; keep the scaling.

        Raises:
            UserError: If the columns are not those of the state, or a price has no logarithm.
        """
        features = train.drop(columns=TARGET)
        self._check_texts(features)
        _check_same(dict(zip(("numeric", "dates", "text"), self._kinds(features), strict=True)), state)
        self.restore(state)
        known, gaps = ([str(value) for value in state[key]] for key in ("vocabulary", "gaps"))
        new: list[str] = []
        if known:  # otherwise the model has no input for categories
            more = beyond(gaps, _gaps(features, [*self._numeric, *self.dates, *self.text_columns]))
            for name in self.text:
                room = self.max_categories - sum(value.startswith(f"{name}=") for value in known)
                new += beyond(known, self._vocabulary(features, [name], []))[: max(0, room)]
            new += [f"{name}=" for name in more]  # not also KNOWN, whose fresh weights would change most predictions
            gaps += more
        learnt = {
            "gaps": np.array(gaps, "U"),
            "vocabulary": np.array([*known, *new], "U"),
            "target": self._widened(state["target"], train[TARGET]),
        }
        if self.neighbours:
            learnt |= _houses(train, self._numeric, self.state["origin"])
        self.restore({**self.state, **learnt})
        self.added = {"categories": new}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the state of a preprocessor with the same settings."""
        new = {
            "dates": np.array([], "U"),
            "origin": np.zeros(len(state["numeric"])),
            "typical": np.zeros((), "float32"),
        }
        self.state = {**new, **state}
        self._numeric, self.dates, self.text, self.gaps = (
            [str(name) for name in self.state[key]] for key in ("numeric", "dates", "text", "gaps")
        )
        self.lookups: list[tf.Module] = []
        if len(state["vocabulary"]):
            vocabulary = [str(value) for value in state["vocabulary"]]
            self._categories = keras.layers.StringLookup(vocabulary=vocabulary, output_mode="multi_hot")
            self.lookups.append(self._categories)
        if self.text_columns:
            if self.preset is None:  # otherwise, `adapt` or an earlier call has made the encoder
                self._encoder = TextEncoder.restore(state)
                self.preset = self._encoder.preset
            self.lookups.extend(self._encoder.lookups)

    def split_warnings(self, split: str, examples: pd.DataFrame) -> list[str]:
        """Return warnings about targets without a logarithm and about columns with mostly unknown values."""
        added = float(sum(self.state["target"][4:]))
        low = int((examples[TARGET] + added <= 0).sum()) if self.target_scaling == "log" else 0
        warnings = []
        if low:
            problem = f"{low:,} target{'s' * (low != 1)} of {split} {'has' if low == 1 else 'have'} no logarithm"
            warnings.append(f"{problem}, unlike those of train; set preprocessing.target_scaling: standard")
        known = {str(value) for value in self.state["vocabulary"]}
        for name in self.text:
            looked_up = {value.partition("=")[2] for value in known if value.startswith(f"{name}=")}
            share = float((~examples[name].isin(looked_up)).mean())
            if looked_up and share > UNKNOWN:
                warnings.append(f"'{name}': {share:.0%} of the rows of {split} have a value outside the vocabulary")
        return warnings

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specification of the inputs.

        A missing number is NaN. Texts and dates (YYYY-MM-DD) are strings, '' if missing. Numbers are float32, or
        float64 if float32 would merge different values of the column.
        """
        kinds = {
            name: tf.float64 if origin else tf.float32
            for name, origin in zip(self._numeric, self.state["origin"], strict=True)
        }
        kinds |= dict.fromkeys([*self.dates, *self.text, *self.text_columns], tf.string)
        return {name: tf.TensorSpec([None], kind, name=name) for name, kind in kinds.items()}

    @property
    def features(self) -> Features:
        """Return the sizes of the inputs and the quantiles of the numbers."""
        quantiles = self.state["quantiles"]
        width = len(self.state["text_mean"]) if self.text_columns else 0
        return Features(len(quantiles), len(self.state["vocabulary"]), quantiles, width)

    def inputs(self, raw: Tensors) -> Tensors:
        """Return `numeric` (B, F), `text` (B, W), the mean for missing values, and `category` (B, V), multi-hot."""
        inputs = self._inputs(raw, None)
        return inputs | ({"text": self._texts(raw, self._encoder.vectors)} if self.text_columns else {})

    def example(self, raw: Tensors, training: bool) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Return model inputs, the scaled target (B, 1) and weights of 1 (B,).

        In training a house is not its own neighbour. Otherwise its own price would be one of its features.
        """
        label = self.label(raw[TARGET])
        own_price = tf.cast(raw[TARGET], tf.float32) if training else None
        inputs = self._inputs(raw, own_price)
        inputs |= {"text": self._texts(raw, self._encoder.recall)} if self.text_columns else {}
        return inputs, label[:, None], tf.ones_like(label)

    def scaled(self, raw: Tensors, own_price: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Return `numeric` (B, F), the mean if missing. `own_price` (B,) is given for training houses only."""
        if not len(self.state["mean"]):
            return {}
        values = self._numbers(raw, own_price)
        missing = tf.math.is_nan(values)  # checked before scaling
        values = self._normalise(values)
        if self.numeric_scaling != "none":
            values = tf.clip_by_value(values, -self.numeric_limit, self.numeric_limit)
        return {"numeric": tf.where(missing, self.state["typical"], values)}

    def price(self, label: tf.Tensor, beyond: float = 0.0) -> tf.Tensor:
        """Undo the scaling of the target. Predictions are clipped to the range of the training prices.

        `beyond` widens that range on both sides, in widths of the scaled range.
        """
        mean, deviation, low, high, *added = self.state["target"]
        more = beyond * (high - low)
        target = tf.clip_by_value(label * deviation + mean, low - more, high + more)
        if self.target_scaling == "log":
            return tf.exp(target) - sum(added) if any(added) else tf.exp(target)
        return target

    def label(self, price: tf.Tensor) -> tf.Tensor:
        """Scale prices (B,) as the models predict them."""
        mean, deviation, low, _, *added = self.state["target"]
        price = tf.cast(price, tf.float32)
        if self.target_scaling == "log":  # clipped, because other splits may have values that are not above zero
            price = tf.math.log(tf.maximum(price + sum(added), np.exp(low) / 2))
        return (price - mean) / deviation

    def typical_inputs(self) -> dict[str, np.ndarray]:
        """Return the model inputs (F,) of a typical house: means of numbers and texts, most frequent categories."""
        features = self.features
        typical = {"numeric": np.zeros(features.numeric) + self.state["typical"], "text": np.zeros(features.text)}
        columns = [value.partition("=")[0] for value in self.state["vocabulary"]]
        known = {f"{name}={KNOWN}" for name in self.gaps}
        # The values of a column are in the vocabulary with the most frequent first.
        first = [columns.index(name) == place and name not in self.gaps for place, name in enumerate(columns)]
        gaps = [value in known for value in self.state["vocabulary"]]
        typical["category"] = np.array(first) | np.array(gaps)
        return {name: value.astype("float32") for name, value in typical.items() if len(value)}

    def steps(self, example: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the numbers before and after scaling, the categories that are 1, and the scaled target."""
        raw = tensors(example)
        given, label, _ = self.example(raw, training=False)
        found = {}
        if "numeric" in given:
            names = [*self._numeric, *(f"{name}, {part}" for name in self.dates for part in dates.PARTS)]
            names += [" / ".join(pair) for pair in self.ratios]
            names += [f"prices near, {at + 1}" for at in range(given["numeric"].shape[1] - len(names))]
            numbers = self._numbers(raw, None)[0]
            found["numeric"] = pd.DataFrame({"feature": names, "number": numbers, "input": given["numeric"][0]})
        if "category" in given:
            ones = np.flatnonzero(given["category"][0])
            known = [str(self.state["vocabulary"][at]).partition("=") for at in ones]
            found["category"] = pd.DataFrame(
                {"column": [name for name, *_ in known], "value": [value for *_, value in known], "input": ones}
            )
        found["target"] = pd.DataFrame({"price": example[TARGET], "label": label[:, 0]})
        return found

    def column_shares(self) -> dict[str, np.ndarray]:
        """Return which share of each model input belongs to which column, (F, C) with rows that sum to 1.

        A ratio and a price of nearby houses belong to their columns in equal shares.
        """
        names = list(self.signature)
        numeric = [[name] for name in self._numeric]
        numeric += [[name] for name in self.dates for _ in dates.PARTS]
        numeric += self.ratios
        numeric += [list(near["columns"]) for near in self.neighbours for _ in range(2 * len(near["counts"]))]
        width = self.features.text // max(1, len(self.text_columns))
        owners = {
            "numeric": numeric,
            "category": [[value.partition("=")[0]] for value in self.state["vocabulary"]],
            "text": [[name] for name in self.text_columns for _ in range(width)],
        }
        return {
            key: np.array([[each.count(name) / len(each) for name in names] for each in rows], "float32")
            for key, rows in owners.items()
            if rows
        }

    def _target_scale(self, target: pd.Series) -> np.ndarray:
        """Return the mean, deviation, minimum and maximum of the scaled target, and the offset of its logarithm."""
        added = 0.0
        if self.target_scaling == "log":
            if (target < 0).any():
                count = int((target < 0).sum())
                problem = (
                    f"log requires targets of zero or more, but {count:,} in train {'is' if count == 1 else 'are'}"
                )
                raise UserError("preprocessing.target_scaling", f"{problem} negative; use standard")
            added = float((target == 0).any())  # zeros occur, as in counts or rents: log(1 + x)
            target = np.log(target + added)
        mean, deviation = (0.0, 1.0) if self.target_scaling == "none" else (target.mean(), target.std(ddof=0) or 1.0)
        return np.array([mean, deviation, target.min(), target.max(), added], "float32")

    def _widened(self, scale: np.ndarray, target: pd.Series) -> np.ndarray:
        """Return the scale of a state's target with the range of more targets."""
        own = self._target_scale(target)
        mean, deviation, low, high, *added = scale
        if self.target_scaling == "log":
            if own[4] and not any(added):
                raise UserError("start", "train has targets of zero, which the run had not; train a new run")
            own[2:4] = np.log(np.exp(own[2:4].astype("float64")) - own[4] + sum(added))
        return np.array([mean, deviation, min(low, own[2]), max(high, own[3]), *added], "float32")

    def _inputs(self, raw: Tensors, own_price: tf.Tensor | None) -> dict[str, tf.Tensor]:
        inputs = self.scaled(raw, own_price)
        if len(self.state["vocabulary"]):
            values = [tf.strings.join([f"{name}=", raw[name]]) for name in self.text]
            values += [tf.where(gap, f"{name}=", f"{name}={KNOWN}") for name, gap in self.missing(raw).items()]
            inputs["category"] = self._categories(tf.stack(values, axis=1))[:, 1:]  # the first column is 'unknown'
        return inputs

    def _texts(self, raw: Tensors, encode: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Return the normalized vectors of all text columns (B, W), 0 for a text that is missing."""
        vectors = tf.concat([encode(raw[name]) for name in self.text_columns], axis=1)
        scaled = (vectors - self.state["text_mean"]) / self.state["text_deviation"]
        scaled = tf.clip_by_value(scaled, -self.numeric_limit, self.numeric_limit)
        return tf.where(tf.math.is_nan(vectors), 0.0, scaled)

    def missing(self, raw: Tensors) -> dict[str, tf.Tensor]:
        """Return for each column with missing values in train whether it is missing (B,)."""

        def lacks(name: str) -> tf.Tensor:
            if name in self.text_columns:
                return raw[name] == ""
            return _days(raw[name]) == dates.NO_DATE if name in self.dates else tf.math.is_nan(raw[name])

        return {name: lacks(name) for name in self.gaps}

    def _numbers(self, raw: Tensors, own_price: tf.Tensor | None) -> tf.Tensor:
        """Stack the columns, the date features, the ratios and the neighbour features: (B, F)."""
        columns = [
            tf.cast(tf.cast(raw[name], tf.float64) - origin if origin else raw[name], tf.float32)
            for name, origin in zip(self._numeric, self.state["origin"], strict=True)
        ]
        houses = tf.stack(columns, axis=1) if columns else None
        columns += [part for name in self.dates for part in dates.calendar(_days(raw[name]))]
        for pair in self.ratios:
            above, below = (tf.cast(raw[name], tf.float32) for name in pair)
            columns.append(tf.math.divide_no_nan(above, below))
        for near in self.neighbours:
            weights = np.array([near["columns"].get(name, 0) for name in self._numeric], "float32")
            known = KnownHouses(self.state["houses"], self.state["prices"], self.label(self.state["prices"]))
            columns += neighbour_labels(houses, own_price, known, weights / self.state["spread"], near["counts"])
        return tf.stack(columns, axis=1) if columns else tf.zeros([tf.shape(next(iter(raw.values())))[0], 0])

    def _normalise(self, values: tf.Tensor) -> tf.Tensor:
        if self.numeric_scaling == "quantile":
            share = _ranks(values, self.state["raw_quantiles"]) / (QUANTILES - 1)
            values = tf.math.ndtri(tf.clip_by_value(share, 1 / QUANTILES, 1 - 1 / QUANTILES))
        if self.numeric_scaling == "log":
            values = tf.where(self.state["skewed"], tf.math.log1p(tf.maximum(values, 0.0)), values)
        return (values - self.state["mean"]) / self.state["deviation"]

    def _moments(self, train: pd.DataFrame) -> dict[str, np.ndarray]:
        """Learn the quantiles, the skewness and the moments of each feature, of which one at a time is in memory."""
        values = self._feature_values(train)
        absent = np.array([np.isnan(each).all() for each in values], bool)
        values[absent] = 0.0
        self.state["raw_quantiles"] = np.array([_quantiles(each) for each in values], "float32").reshape(-1, QUANTILES)
        skewed = [pd.Series(each, dtype="float64").skew() > SKEWED and np.nanmin(each) >= 0 for each in values]
        self.state["skewed"] = np.array(skewed, bool)
        self.state["mean"], self.state["deviation"] = np.zeros((), "float32"), np.ones((), "float32")
        for start in range(0, values.shape[1], ADAPT_ROWS):
            part = values[:, start : start + ADAPT_ROWS]
            part[:] = self._normalise(tf.constant(part.T)).numpy().T
        found = [_statistics(each.astype("float64")) for each in values]
        mean, deviation = (np.array([each[at] for each in found]) for at in (0, 1))
        typical = np.zeros_like(mean)
        if self.numeric_scaling == "none":
            typical, mean, deviation = mean, np.zeros_like(mean), np.ones_like(mean)
        deviation[absent] = np.inf  # no training values: all later values become 0, as if missing
        quantiles = (np.array([each[2] for each in found]).reshape(-1, QUANTILES) - mean[:, None]) / deviation[:, None]
        learnt = {"mean": mean, "deviation": deviation, "quantiles": quantiles, "typical": typical}
        arrays = {name: array.astype("float32") for name, array in learnt.items()}
        return arrays | {key: self.state[key] for key in ("raw_quantiles", "skewed")}

    def _feature_values(self, train: pd.DataFrame) -> np.ndarray:
        """Return the features of all rows (F, N) float32, which are on the disk if they are too many for memory."""
        size = ADAPT_BATCH if self.neighbours else ADAPT_ROWS
        values, start = np.zeros((0, 0)), 0
        for raw in raw_batches(train, size):
            part = self._numbers(raw, tf.cast(raw[TARGET], tf.float32)).numpy()
            if not start:
                values = scratch_array((part.shape[1], len(train)), IN_MEMORY)
            values[:, start : start + len(part)] = part.T
            start += len(part)
        return values

    def _text_state(self, train: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the text encoder with its weights, and mean and deviation of its vectors (W,)."""
        assert self.text_preset is not None  # because there are text columns
        self._encoder = TextEncoder.published(self.text_preset)
        self.preset = self._encoder.preset
        raw = tensors(train[self.text_columns])
        values = np.concatenate([self._encoder.recall(raw[name]).numpy() for name in self.text_columns], axis=1)
        absent = np.isnan(values).all(axis=0)
        values[:, absent] = 0.0
        deviation = np.nanstd(values, axis=0)
        deviation[deviation == 0] = 1.0
        deviation[absent] = np.inf  # no training values: all later values become 0, as if missing
        moments = {"text_mean": np.nanmean(values, axis=0), "text_deviation": deviation}
        return {**self._encoder.state(), **moments}

    def _kinds(self, features: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
        """Return the names of the columns of numbers, of dates and of categories."""
        return _kinds(features.drop(columns=self.text_columns))

    def _vocabulary(self, features: pd.DataFrame, text: list[str], gaps: list[str]) -> list[str]:
        vocabulary = []
        for name in text:
            counts = features[name].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
            frequent = counts.index[counts >= self.min_count]
            vocabulary += [f"{name}={value}" for value in frequent[: self.max_categories]]
        return vocabulary + [f"{name}={value}" for name in gaps for value in ("", KNOWN)]

    def _odd_columns(self, train: pd.DataFrame, vocabulary: list[str]) -> list[str]:
        empty = [name for name in train if lacks(train[name]).all()]
        looked_up = {name for name, _, value in (each.partition("=") for each in vocabulary) if value}
        lost = [name for name in self.text if name not in looked_up and name not in empty]
        warnings = [f"'{name}' has no values in train, so it is treated as missing everywhere" for name in empty]
        for name in lost:
            values = train[name][train[name].astype(bool)].astype(str)
            free = values.str.split().str.len().median() >= FREE_TEXT
            hint = "; if they are free text, name the column in preprocessing.text_columns" if free else ""
            warnings.append(
                f"'{name}': none of its {values.nunique():,} values occurs at least {self.min_count} times in train"
                f" (preprocessing.min_count), so all are treated as unknown{hint}"
            )
        return warnings

    def _check_texts(self, features: pd.DataFrame) -> None:
        where = "preprocessing.text_columns"
        numeric, _, text = _kinds(features)
        for at, name in enumerate(self.text_columns):
            if name not in features:
                raise UserError(where, f"no column '{name}'{did_you_mean(name, text)}")
            if name not in text:
                kind = "numbers" if name in numeric else "dates"
                mend = f"to read it as text, set data.categorical: [{name}]"
                raise UserError(where, f"'{name}' is a column of {kind}; {mend}")
            if name in self.text_columns[:at]:
                raise UserError(where, f"names '{name}' twice")

    def _check_columns(self, numeric: list[str]) -> None:
        named_in = {
            "ratios": [name for pair in self.ratios for name in pair],
            "neighbours": [name for near in self.neighbours for name in near["columns"]],
        }
        for setting, names in named_in.items():
            for name in names:
                if name in self.text_columns:
                    problem = f"'{name}' is also in preprocessing.text_columns; name it in one of them"
                    raise UserError(f"preprocessing.{setting}", problem)
                if name not in numeric:
                    hint = did_you_mean(name, numeric)
                    raise UserError(f"preprocessing.{setting}", f"no numeric column '{name}'{hint}")


def _statistics(values: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the mean, the deviation or 1 if it is 0, and the quantiles of a feature."""
    return np.nanmean(values), np.nanstd(values) or 1.0, _quantiles(values)


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return the quantiles of a feature, without its missing values.

    They are exact for up to `MOST_RANKED` rows. Of more rows, which are in random order, evenly spaced ones are used:
    the rank of a quantile is then wrong by at most 0.05 % of all rows, with a probability of 99.9 % (Massart 1990).
    """
    return np.nanquantile(values[:: -(-len(values) // MOST_RANKED)].astype("float64"), np.linspace(0, 1, QUANTILES))


def _kinds(features: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the columns of numbers, of dates and of texts."""
    kinds = features.dtypes
    numeric = [name for name in features if pd.api.types.is_numeric_dtype(kinds[name])]
    dated = [name for name in features if pd.api.types.is_datetime64_dtype(kinds[name])]
    return numeric, dated, [name for name in features if name not in numeric and name not in dated]


def _gaps(features: pd.DataFrame, names: list[str]) -> list[str]:
    """Return the columns in which some, but not all, values are missing."""
    shares = {name: lacks(features[name]).mean() for name in names}
    return [name for name in names if 0 < shares[name] < 1]


def _houses(train: pd.DataFrame, numeric: list[str], origin: np.ndarray) -> dict[str, np.ndarray]:
    """Return the houses whose prices are features of those near them."""
    houses = (train[numeric] - origin).to_numpy("float32")
    return {"houses": houses, "prices": train[TARGET].to_numpy("float32")}


def _check_same(kinds: Mapping[str, list[str]], state: Mapping[str, np.ndarray]) -> None:
    """Check that the columns of each kind are those of a state."""
    words = {"numeric": "numbers", "dates": "dates", "text": "texts"}
    now = {name: kind for kind, names in kinds.items() for name in names}
    before = {str(name): kind for kind in kinds for name in state.get(kind, ())}
    problems = [f"'{name}' is missing here" for name in before if name not in now]
    problems += [f"'{name}' is new (leave it out with data.ignore)" for name in now if name not in before]
    problems += [
        f"'{name}' has {words[before[name]]} there and {words[now[name]]} here"
        for name in now
        if before.get(name, now[name]) != now[name]
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError("start", f"the columns are not those of the run: {'; '.join(problems[:5])}{more}")


def _days(date: tf.Tensor) -> tf.Tensor:
    """Return the days (B,) of a date column, which contains texts or days."""
    return dates.to_days(date) if date.dtype == tf.string else date


def _origin(values: pd.Series) -> float:
    """Return the number to subtract from a column so that float32 keeps its values apart, or 0 if none is needed."""
    known = values.dropna()
    least = float(known.min()) if len(known) else 0.0
    return least if _different(known) < _different(known - least) else 0.0


def _different(values: pd.Series) -> int:
    """Return the number of values that are different in float32."""
    ordered = np.sort(values.to_numpy("float32"))
    return len(ordered) and 1 + int((ordered[1:] != ordered[:-1]).sum())


def _ranks(values: tf.Tensor, quantiles: np.ndarray) -> tf.Tensor:
    """Return the ranks of values (B, F) among the quantiles of their columns (F, Q), interpolated, from 0 to Q - 1.

    NaN stays NaN. A value that equals several quantiles has the mean of their ranks, so that a frequent value has its
    correct rank.
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
