"""A translator without caches, to compare others with."""

import tensorflow as tf


class Uncached:
    """A translator that reads its whole beginning again at each step."""

    context, shared = None, ("source",)

    def __init__(self, model):
        self.inner = model

    def start(self, given, length):
        return {"source": given["source"], "read": tf.zeros([tf.shape(given["source"])[0], 0, 1], tf.int32)}

    def step(self, tokens, state):
        read = tf.concat([state["read"], tokens[:, :, None]], axis=1)
        sources = tf.repeat(state["source"], tf.shape(read)[0] // tf.shape(state["source"])[0], axis=0)
        scored = self.inner.scores(self.inner({"source": sources, "target": read[:, :, 0]}, training=False))
        return scored[:, -tf.shape(tokens)[1] :], {**state, "read": read}
