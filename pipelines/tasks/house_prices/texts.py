"""Vectors of free texts from a published encoder, whose weights stay as published.

Shapes: B texts, T tokens, W width of the encoder.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.presets import Preset, open_preset, sequence_model
from pipelines.text.published import text_encoder

WHERE = "preprocessing.text_preset"
WEIGHTS = "text_encoder."  # names of arrays in the state
LONGEST = 512  # tokens of a text, for encoders that state no limit
AT_ONCE = 32  # texts per call of the encoder: its activations stay small


class TextEncoder:
    """The encoder of a preset: a text becomes the mean of its tokens' vectors (Reimers & Gurevych 2019, section 3)."""

    def __init__(self, preset: Preset):
        self.preset = preset
        self._encode, self._tokenizers = text_encoder(preset)
        self._backbone = preset.make_backbone()
        self.model = sequence_model(self._backbone)
        self.width = self.model.output.shape[-1]
        self._room = preset.config.get("max_sequence_length", LONGEST) - 2  # the start and the end are tokens too
        self._known: dict[bytes, np.ndarray] = {}
        # Some tokenizers of KerasHub return tensors only in a graph.
        self.vectors = tf.function(self._vectors, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    @classmethod
    def published(cls, name: str) -> "TextEncoder":
        """Return the encoder of the preset that the config names, with its weights.

        Raises:
            UserError: If it is not available, or not a text encoder.
        """
        encoder = cls(open_preset(name, "text encoder", WHERE))
        encoder.preset.load_weights(encoder._backbone, WHERE)
        return encoder

    @classmethod
    def restore(cls, state: Mapping[str, np.ndarray]) -> "TextEncoder":
        """Return the encoder of a preprocessor's state; the files of its preset are not needed."""
        encoder = cls(Preset.restore(state))
        encoder.model.set_weights([state[f"{WEIGHTS}{at}"] for at in range(len(encoder.model.weights))])
        return encoder

    def state(self) -> dict[str, np.ndarray]:
        """Return the preset and the weights as arrays, for the state of a preprocessor."""
        weights = {f"{WEIGHTS}{at}": weight for at, weight in enumerate(self.model.get_weights())}
        return {**self.preset.state(), **weights}

    @property
    def lookups(self) -> list[tf.Module]:
        """What an export must track."""
        return [*self._tokenizers, self.model]

    def recall(self, texts: tf.Tensor) -> tf.Tensor:
        """Return `vectors` (B, W), computed once for each text; not for an exported graph."""
        # A function on the host: in a graph of tf.data, the encoder could not use a GPU.
        return tf.ensure_shape(tf.numpy_function(self._recall, [texts], tf.float32), [None, self.width])

    def _recall(self, texts: np.ndarray) -> np.ndarray:
        new = sorted({*texts} - self._known.keys(), key=len)  # by length, to keep padding low
        if new:
            self._known |= zip(new, self.vectors(tf.constant(new)).numpy(), strict=True)
        return np.array([self._known[text] for text in texts], "float32").reshape(-1, self.width)

    def _vectors(self, texts: tf.Tensor) -> tf.Tensor:
        """Return the vectors (B, W) of texts (B,): NaN for a text without tokens. A text that is too long is cut."""
        ids = self._encode(texts)[:, : self._room]
        some = tf.map_fn(
            lambda start: self._means(ids[start : start + AT_ONCE]),
            tf.range(0, ids.nrows(out_type=tf.int32), AT_ONCE),
            fn_output_signature=tf.RaggedTensorSpec([None, self.width], tf.float32, 0),
        )
        return tf.where(ids.row_lengths()[:, None] > 0, some.merge_dims(0, 1), np.nan)

    def _means(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        tokenizer: Any = self.preset.tokenizer
        ends = tf.ones([ids.nrows(), 1], tf.int32)
        ids = tf.concat([tokenizer.start_token_id * ends, ids, tokenizer.end_token_id * ends], axis=1)
        mask = tf.ones_like(ids).to_tensor()
        given = {
            "token_ids": ids.to_tensor(tokenizer.pad_token_id),
            "padding_mask": mask,
            "segment_ids": tf.zeros_like(mask),
        }
        outputs = self.model({name: given[name] for name in self.model.input}, training=False)
        share = tf.cast(mask, tf.float32)[:, :, None]
        return tf.reduce_sum(tf.cast(outputs, tf.float32) * share, axis=1) / tf.reduce_sum(share, axis=1)
