"""Helpers shared by the converters to other formats."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from pipelines.task import NumericEndpoint
    from pipelines.trained_model import TrainedModel

Arrays = dict[str, "np.ndarray"]
Answer = Callable[[str, Arrays], Arrays]  # (signature name, inputs) -> outputs
NAMED = 8  # number of operations that an error lists


def numeric_endpoint(trained: "TrainedModel", format_name: str) -> "NumericEndpoint":
    """Return the endpoint of a model with numeric inputs and outputs only.

    Raises:
        UserError: If the model needs texts; the message names the operations that handle them.
    """
    import tensorflow as tf

    endpoint = trained.task.numeric_endpoint(trained.model, trained.preprocessor)
    if endpoint is not None:
        return endpoint
    serve = trained.endpoints["serve"]
    graph = tf.function(serve.answer, input_signature=[serve.signature], autograph=False).get_concrete_function().graph
    texts = {node.type for node in graph.get_operations() if _handles_texts(node)}
    raise UserError(
        f"--format {format_name}",
        f"supports numbers only, but {trained.config.task} processes texts with {listed_operations(texts)};"
        " use --format saved_model",
    )


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Silence the named loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def listed_operations(operations: set[str]) -> str:
    """Return the names of the first few operations, in alphabetical order."""
    names = sorted(operations)
    more = f" and {len(names) - NAMED} more operations" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _handles_texts(node: "tf.Operation") -> bool:
    """Return whether an operation processes texts, rather than only passing them on."""
    import tensorflow as tf

    about_texts = re.search("String|Regex|Lookup|Unicode|Substr|Sentencepiece", node.type)
    return bool(about_texts) and any(tensor.dtype == tf.string for tensor in (*node.inputs, *node.outputs))
