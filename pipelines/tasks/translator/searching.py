"""Search for translations, and return the attention weights of a translation.

Shapes: B sources, S source tokens, K beams, T target tokens, L layers with H heads each.
"""

import tensorflow as tf

from pipelines.data.pairs.read import SOURCE, TARGET
from pipelines.task import Tensors
from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.tasks.translator.translation import Translator
from pipelines.text.beam_search import Found, beam_search
from pipelines.text.tokenizers import PAD, START


def search(model: Translator, preprocessor: PairPreprocessor, source: tf.Tensor, beams: tf.Tensor | int) -> Found:
    """Translate sources (B, S) with beam search."""
    lengths = tf.reduce_sum(tf.cast(source != PAD, tf.int32), axis=1)
    most = tf.minimum(model.decoding.most_tokens(lengths), preprocessor.longest)
    start, one = tf.fill([tf.shape(source)[0], 1], START), tf.ones_like(lengths)
    return beam_search(model, {SOURCE: source}, start, one, most, beams, model.decoding.length_penalty)


def look(model: Translator, preprocessor: PairPreprocessor, source: tf.Tensor) -> Tensors:
    """Translate sources (B, S), and return the tokens of both sides and the attention weights (B, L, H, T, S)."""
    found = search(model, preprocessor, source, model.decoding.beams)
    tokens = found.tokens[:, 0]  # begins with `START`
    layers = model.attention(source, tokens[:, :-1])
    shape = [tf.shape(source)[0], 0, 1, tf.shape(tokens)[1] - 1, tf.shape(source)[1]]

    def names(side: str, ids: tf.Tensor) -> tf.Tensor:
        return tf.where(ids == PAD, "", tf.gather(tf.constant(preprocessor.tokenizers[side].pieces), ids))

    return {
        "queries": names(TARGET, tokens[:, 1:]),
        "keys": names(SOURCE, source),
        "weights": tf.stack(layers, axis=1) if layers else tf.zeros(shape),
    }
