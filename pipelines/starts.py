"""Start training from a finished run: its weights, and its preprocessor, which grows with the data.

A vocabulary grows at its end, so known entries keep their ids. An axis of a weight may consist of several parts, such
as categories followed by embedded numbers. Each part then grows at its own end.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
import pandas as pd

from pipelines.config.load import Config, load_config
from pipelines.config.validation import differences
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.task import Preprocessor
from pipelines.tasks import load_task
from pipelines.trained_model import load_trained_model

MAY_CHANGE = (  # settings of a model that its weights do not depend on
    "backbone_learning_rate",
    "dropout",
    "freeze",
    "l2",
    "layer_decay",
    "lora_rank",  # a run has the updates in its weights
    "unfreeze_after_epochs",
    "weights",
    "word_dropout",
)


@runtime_checkable
class InParts(Protocol):
    """A layer with a weight that has an axis of several parts, although its input has not."""

    axis_parts: Mapping[str, Mapping[int, Sequence[int]]]  # name of the weight -> axis -> sizes of the parts


def check_start(config: Config) -> None:
    """Check that training can start from the run that a config names, if any.

    Raises:
        UserError: If the run does not exist, is not finished, or has another task, model or preprocessing.
    """
    if config.start is not None:
        _open(config, Run(config.start))


def extend_preprocessor(config: Config, train: pd.DataFrame) -> Preprocessor:
    """Return the preprocessor of the run that a config starts from, extended by what `train` has beyond it.

    Raises:
        UserError: If the run cannot be used, or its preprocessor cannot be extended to this data.
    """
    assert config.start is not None
    run = Run(config.start)
    _open(config, run)
    preprocessor = load_task(config.task).preprocessor(**config.preprocessing)
    preprocessor.extend(run.preprocessor_state(), train)
    return preprocessor


def load_start(config: Config, model: keras.Model) -> None:
    """Copy the weights of the run that a config starts from; what the run has no weights for keeps its initial ones.

    Raises:
        UserError: If the run's model has another architecture.
    """
    assert config.start is not None
    old = load_trained_model(Run(config.start)).model
    if not model.weights:
        raise UserError("start", f"the model {config.model} has no weights to start from")
    if len(old.weights) != len(model.weights):
        raise UserError("start", f"{config.start} has a model of {len(old.weights)} weights, not {len(model.weights)}")
    for given, own in zip(_owned(old), _owned(model), strict=True):
        _copy(given, own, config.start)


def origin(folder: str) -> dict[str, str]:
    """Return the record of a run that another run is made from: its folder and its fingerprint."""
    return {"run": folder, "fingerprint": Run(folder).fingerprint()}


def added(preprocessor: Preprocessor) -> str:
    """Describe in a line what an extended preprocessor has beyond the run."""
    news = {name: entries for name, entries in preprocessor.added.items() if entries}
    return "; ".join(f"{len(entries):,} new {name}: {_some(entries)}" for name, entries in news.items())


def _open(config: Config, run: Run) -> None:
    try:
        Run.open(run.folder)
    except UserError as error:
        raise UserError("start", str(error)) from None
    begun = load_config(run.config)
    whole, other = config.whole, begun.whole
    for name in ("task", "model"):
        if whole[name] != other[name]:
            raise UserError("start", f"{run.folder} is a run of the {name} {other[name]}, not {whole[name]}")
    settings = f"models.{config.model}."
    differing = differences(whole["models"][config.model], other["models"][config.model], settings)
    differing = [name for name in differing if name.removeprefix(settings) not in MAY_CHANGE]
    changeable = load_task(config.task).preprocessor.may_change
    differing += [
        name
        for name in differences(whole["preprocessing"], other["preprocessing"], "preprocessing.")
        if name.split(".")[1] not in changeable
    ]
    if differing:
        values = [f"{name} is {_value(other, name)} there and {_value(whole, name)} here" for name in differing]
        raise UserError("start", f"{run.folder} has other settings, which its weights depend on: {'; '.join(values)}")


def _value(whole: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        whole = whole.get(key) if isinstance(whole, Mapping) else None
    return whole


def _owned(model: keras.Model) -> Iterator[tuple[keras.Variable, keras.Layer]]:
    """Yield the weights of a model in order, each with the layer that owns it."""
    owners = {
        id(variable): layer
        for layer in model._flatten_layers()
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables)
    }
    for variable in model.weights:
        yield variable, owners[id(variable)]


def _copy(given: tuple[keras.Variable, keras.Layer], own: tuple[keras.Variable, keras.Layer], run: str) -> None:
    """Copy a weight to the same weight of a model that may have more entries."""
    (old, old_layer), (new, new_layer) = given, own
    same = len(old.shape) == len(new.shape) and old.name == new.name
    if not same or any(before > now for before, now in zip(old.shape, new.shape, strict=True)):
        shapes = f"{tuple(old.shape)} there and {tuple(new.shape)} here"
        raise UserError("start", f"{run} has another architecture: {new.path} has the shape {shapes}")
    places = [
        _places(old_layer, new_layer, new.name, axis, before, now) if before != now else np.arange(now)
        for axis, (before, now) in enumerate(zip(old.shape, new.shape, strict=True))
    ]
    value = new.numpy()
    value[np.ix_(*places)] = old.numpy()
    new.assign(value)


def _places(old: keras.Layer, new: keras.Layer, name: str, axis: int, before: int, now: int) -> np.ndarray:
    """Return where the entries of an axis with `before` entries are in the grown axis with `now` entries."""
    if isinstance(old, InParts) and isinstance(new, InParts) and axis in new.axis_parts.get(name, {}):
        parts = list(zip(old.axis_parts[name][axis], new.axis_parts[name][axis], strict=True))
    else:
        parts = _joined(_input(old), _input(new))
        if (sum(part[0] for part in parts), sum(part[1] for part in parts)) != (before, now):
            parts = [(before, now)]  # not the axis of the input
    starts = np.cumsum([0, *(grown for _, grown in parts[:-1])])
    return np.concatenate([start + np.arange(size) for start, (size, _) in zip(starts, parts, strict=True)])


def _input(layer: keras.Layer) -> keras.KerasTensor | None:
    """Return the input of a layer, if it is called once in a functional model, with one input."""
    tensors = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
    return tensors[0] if len(tensors) == 1 else None


def _joined(old: keras.KerasTensor | None, new: keras.KerasTensor | None) -> list[tuple[int, int]]:
    """Return the sizes, in both models, of the parts that the last axis of a layer's input is joined from."""
    if old is None or new is None:
        return []
    sizes = old.shape[-1], new.shape[-1]
    if None in sizes or sizes[0] == sizes[1]:
        return [sizes] if None not in sizes else []
    layer, before, now = new._keras_history.operation, _given(old), _given(new)
    if isinstance(layer, keras.layers.Concatenate) and len(before) == len(now):
        return [part for pair in zip(before, now, strict=True) for part in _joined(*pair)]
    # The outputs of a layer with units of its own do not grow with its inputs, so this one keeps their order.
    if len(before) == len(now) == 1 and (before[0].shape[-1:], now[0].shape[-1:]) == (old.shape[-1:], new.shape[-1:]):
        return _joined(before[0], now[0])
    return [sizes]


def _given(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Return the inputs of the layer that a tensor comes from."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _some(entries: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(entries) - shown:,} more" if len(entries) > shown else ""
    return ", ".join(entries[:shown]) + more
