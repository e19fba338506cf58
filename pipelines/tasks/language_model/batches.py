"""Random windows of tokens from a text that may be larger than memory."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field

from pipelines.data.batches import Batches, unconverted
from pipelines.errors import UserError
from pipelines.tasks.language_model.preprocessing import TextPreprocessor


def random_windows(
    examples: pd.DataFrame,
    preprocessor: TextPreprocessor,
    seed: int,
    *,
    size: Annotated[int, Field(ge=1, description="number of windows in a mini-batch")],
    steps: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        Field(description="mini-batches per epoch; auto: enough to show each token once on average"),
    ],
) -> Batches:
    """Draw random windows of `context` tokens, with the next token of each as labels.

    The positions of a mini-batch depend only on the seed and the step.

    Raises:
        UserError: If train contains less than one window.
    """
    ids, context = preprocessor.ids(examples), preprocessor.context
    places = len(ids) - context
    if places < 1:
        count = f"{len(ids):,} token{'s' * (len(ids) != 1)}"
        mend = "use a smaller preprocessing.context or more text"
        raise UserError("split.train", f"contains {count}, fewer than one window of {context + 1}; {mend}")
    steps_per_epoch = max(1, places // (size * context)) if steps == "auto" else steps

    def read(starts: np.ndarray) -> np.ndarray:
        return ids[starts[:, None] + np.arange(context + 1)].astype(np.int32)

    @unconverted
    def one_batch(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.cast(seed, tf.int64), step])
        starts = tf.random.stateless_uniform([size], key, maxval=places, dtype=tf.int64)
        windows = tf.ensure_shape(tf.numpy_function(read, [starts], tf.int32), [size, context + 1])
        return {"tokens": windows[:, :-1]}, windows[:, 1:], tf.ones([size, context])

    def stream(first_step: int) -> tf.data.Dataset:
        steps = tf.data.Dataset.range(first_step, tf.int64.max)
        return steps.map(one_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    return Batches(steps_per_epoch=steps_per_epoch, stream=stream)
