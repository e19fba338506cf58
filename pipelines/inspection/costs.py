"""Count what each layer of a model costs for one example: parameters, and the multiply-adds of its matrix products.

TensorFlow's own counter, `tf.compat.v1.profiler`, counts a loop as one step and an einsum as nothing, so a recurrent
layer and much of a Transformer would be missing. Here the model is traced with its loops unrolled, and the operations
of its graph are counted with the shapes that they have for the example.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from pipelines.text.sampling import GenerativeModel

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
COUNTED = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", *CONVOLUTIONS)


@dataclass(frozen=True)
class LayerCost:
    """A layer with the shapes of its outputs for one example, its parameters and its multiply-adds.

    A layer that is called several times has the shape of each call. Parameters that layers share count for the first.
    """

    name: str
    kind: str
    shapes: list[list[int]]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Costs:
    """The costs of all layers, and the sums over the model. Operations between the layers are in the sums only."""

    layers: list[LayerCost]
    parameters: int
    trainable: int
    multiply_adds: int


@dataclass
class _Call:
    """A call of a layer: its operations are those from `start` to `stop` of the graph."""

    layer: keras.Layer
    start: int
    stop: int = 0
    outputs: Sequence[tf.Tensor] = ()


def count_costs(model: keras.Model, inputs: Mapping[str, tf.Tensor]) -> Costs:
    """Count the costs of a model, scores of all tokens included, for a batch `inputs` of one example."""
    calls: list[_Call] = []
    counted: list[tuple[int, tf.Operation]] = []

    def traced(given: Mapping[str, tf.Tensor]) -> tuple[list, list]:
        outputs = model(given, training=False)
        if isinstance(model, GenerativeModel):
            model.output_scores(outputs)
        counted.extend((at, each) for at, each in enumerate(_operations()) if each.type in COUNTED)
        of_operations = [_shapes([*each.inputs, each.outputs[0]]) for _, each in counted]
        return of_operations, [_shapes(call.outputs) for call in calls]

    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    with _inlined(), _unrolled(model), _watched(model, calls):
        graph = tf.function(traced, autograph=False).get_concrete_function(specs)
    of_operations, of_calls = graph(dict(inputs))
    owners = _owners(calls, 1 + max((at for at, _ in counted), default=0))
    costs: dict[int, int] = {}
    for (at, operation), shapes in zip(counted, of_operations, strict=True):
        owner = owners[at]
        costs[owner] = costs.get(owner, 0) + _multiply_adds(operation, [shape.numpy().tolist() for shape in shapes])
    shapes_of: dict[int, list[list[int]]] = {}
    for call, shapes in zip(calls, of_calls, strict=True):
        shapes_of.setdefault(id(call.layer), []).extend(shape.numpy().tolist() for shape in shapes)
    return Costs(
        list(_rows(model, shapes_of, costs)),
        model.count_params(),
        sum(math.prod(weight.shape) for weight in model.trainable_weights),
        sum(costs.values()),
    )


def _rows(model: keras.Model, shapes: Mapping[int, list[list[int]]], costs: Mapping[int, int]) -> Iterator[LayerCost]:
    """Yield the layers in the order of their first call; those without a call only if they have weights."""
    listed = _listed(model)
    order = {called: at for at, called in enumerate(shapes)}
    seen: set[int] = set()
    for layer in sorted(listed, key=lambda each: order.get(id(each), len(order))):
        own = [weight for weight in layer.weights if id(weight) not in seen]
        seen.update(map(id, own))
        parameters = sum(math.prod(weight.shape) for weight in own)
        if id(layer) in shapes or parameters:
            kind = type(layer).__name__
            yield LayerCost(layer.name, kind, shapes.get(id(layer), []), parameters, costs.get(id(layer), 0))


def _listed(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of a model, with those of the models in it in their place."""
    parts = [_listed(layer) if isinstance(layer, keras.Model) else [layer] for layer in model.layers]
    return list({id(layer): layer for part in parts for layer in part}.values())


@contextmanager
def _watched(model: keras.Model, calls: list[_Call]) -> Iterator[None]:
    """Note the calls of the listed layers."""

    def watch(layer: keras.Layer) -> None:
        call = layer.call

        def watching(*given: Any, **more: Any) -> Any:
            noted = _Call(layer, len(_operations()))
            calls.append(noted)
            outputs = call(*given, **more)
            noted.stop = len(_operations())
            noted.outputs = [each for each in keras.tree.flatten(outputs) if tf.is_tensor(each)]
            return outputs

        layer.call = watching

    layers = _listed(model)
    for layer in layers:
        watch(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call  # the method of the class is left


@contextmanager
def _inlined() -> Iterator[None]:
    """Put the operations of functions, in which Keras calls a grouped convolution, into the graph that calls them."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    """Unroll recurrent layers, so that the graph has the operations of each step."""
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    before = [layer.unroll for layer in recurrent]
    for layer in recurrent:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, unroll in zip(recurrent, before, strict=True):
            layer.unroll = unroll


def _operations() -> list[tf.Operation]:
    return tf.compat.v1.get_default_graph().get_operations()


def _shapes(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.shape(each) for each in tensors]


def _owners(calls: Sequence[_Call], count: int) -> list[int]:
    """Return the layer of each of `count` operations: the innermost one that was being called, or 0 for none."""
    owners = [0] * count
    for call in calls:  # a call inside another one is later
        owners[call.start : min(call.stop, count)] = [id(call.layer)] * (min(call.stop, count) - call.start)
    return owners


def _multiply_adds(operation: tf.Operation, shapes: Sequence[list[int]]) -> int:
    """Return the multiply-adds of an operation; `shapes` are those of its inputs and of its output."""
    *given, result = shapes
    if operation.type == "Einsum":
        return _of_einsum(operation.get_attr("equation").decode(), given)
    if operation.type == "DepthwiseConv2dNative":  # the filter: (height, width, channels, multiplier)
        return math.prod(result) * math.prod(given[1][:2])
    if operation.type in CONVOLUTIONS:  # the filter: (..., channels of a group, filters)
        return math.prod(result) * math.prod(given[1][:-1])
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return math.prod(result) * given[0][-2 if transposed else -1]


def _of_einsum(equation: str, given: Sequence[list[int]]) -> int:
    """Return the multiply-adds of a product of two tensors: one for each combination of the indices."""
    if len(given) < 2:
        return 0
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.partition("->")[0].split(","), given, strict=True):
        before, dots, after = letters.partition("...")
        last = len(shape) - len(after)
        sizes |= dict(zip(before, shape, strict=False)) | dict(zip(after, shape[last:], strict=True))
        if dots:
            sizes["..."] = max(sizes.get("...", 1), math.prod(shape[len(before) : last]))
    return math.prod(sizes.values())
