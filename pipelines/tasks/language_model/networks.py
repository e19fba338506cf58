"""Neural language models: sequences of layers that carry a state from token to token.

Shapes: B texts, T tokens, n next tokens, V token ids, D features.
"""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import keras
from keras import ops

from pipelines.hyperparameters import ActivationName, Initializer
from pipelines.layers.basic import kernel_initializer
from pipelines.layers.recurrent import Gates, read_gates, recurrent_layer
from pipelines.tasks.language_model.ngram import Counts
from pipelines.text.sampling import GenerativeModel, State, traced_once

SHARE_UNITS = 32  # hidden units of the layer that predicts the weight of the counts


@runtime_checkable
class Part(Protocol):
    """A layer that carries a state from token to token."""

    def start(self, batch: int, length: int) -> State:
        """Return the state before the first token, with room for `length` tokens."""

    def step(self, x: keras.KerasTensor, state: State, position: Any) -> tuple[keras.KerasTensor, State]:
        """Continue from a state with the next steps (B, n, D).

        `position` is that of the first step, or of the only one of each text (B, 1).
        """


@runtime_checkable
class Attending(Protocol):
    """A layer that attends to earlier steps."""

    def attention_weights(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the attention weights (B, H, T, T)."""


class Mean(keras.layers.Layer):
    """Average each step with all previous steps: (B, T, D) -> (B, T, D)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Average over the whole sequence."""
        return ops.cumsum(x, axis=1) / ops.cumsum(ops.ones_like(x[:, :, :1]), axis=1)

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Return the initial state: a sum of zeros, followed by a count of zero."""
        return ops.zeros((batch, self.width + 1))

    def build(self, shape: tuple) -> None:
        """Store the width."""
        self.width = shape[-1]

    def step(self, x: keras.KerasTensor, sums: keras.KerasTensor, position: Any) -> tuple:
        """Continue from the sum so far."""
        counted = ops.concatenate([x, ops.ones_like(x[:, :, :1])], axis=-1)
        sums = sums[:, None] + ops.cumsum(counted, axis=1)
        return sums[:, :, :-1] / sums[:, :, -1:], sums[:, -1]


class Window(keras.layers.Layer):
    """Map each step together with the steps before it: (B, T, D) -> (B, T, units).

    Steps before the first are zeros.
    """

    def __init__(self, reach: int, units: int, activation: ActivationName, initializer: Initializer):
        super().__init__()
        self.reach = reach
        # Equivalent to a dense layer on the concatenated steps.
        self.map = keras.layers.Conv1D(
            units, reach, activation=activation, kernel_initializer=kernel_initializer(initializer)
        )

    def build(self, shape: tuple) -> None:
        """Build the hidden layer."""
        self.width = shape[-1]
        self.map.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Map the whole sequence."""
        return self.map(ops.pad(x, ((0, 0), (self.reach - 1, 0), (0, 0))))

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Return the initial state: zeros in place of the previous steps."""
        return ops.zeros((batch, self.reach - 1, self.width))

    def step(self, x: keras.KerasTensor, before: keras.KerasTensor, position: Any) -> tuple:
        """Continue after the previous steps."""
        joined = ops.concatenate([before, x], axis=1)
        last = joined[:, ops.shape(joined)[1] - self.reach + 1 :]
        return self.map(joined), ops.reshape(last, (ops.shape(x)[0], self.reach - 1, self.width))


class Recurrence(keras.layers.Layer):
    """Recurrent layer with access to its state: (B, T, D) -> (B, T, units)."""

    def __init__(self, cell: str, units: int, activation: ActivationName, initializer: Initializer):
        super().__init__()
        self.states = 2 if cell == "lstm" else 1
        self.units = units
        self.layer = recurrent_layer(cell, units, activation, initializer, return_state=True)

    def build(self, shape: tuple) -> None:
        """Build the recurrent layer."""
        self.layer.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Start with a state of zeros."""
        return self.layer(x)[0]

    def start(self, batch: int, length: int) -> list[keras.KerasTensor]:
        """Return a state of zeros."""
        return [ops.zeros((batch, self.units)) for _ in range(self.states)]

    def step(self, x: keras.KerasTensor, state: list[keras.KerasTensor], position: Any) -> tuple:
        """Continue from a state."""
        y, *state = self.layer(x, initial_state=state)
        return y, state


class LanguageModel(GenerativeModel):
    """Language model with a sequence of layers.

    Layers that are a `Part` carry a state. All other layers map each token independently.
    """

    one_shape = by_row = True

    def __init__(
        self,
        embedding: keras.Layer,
        parts: list,
        scores: Any,
        name: str,
        context: int | None,
        *,
        outputs: Any = None,
    ):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = embedding(tokens)
        for part in parts:
            x = part(x)
        super().__init__({"tokens": tokens}, (outputs or scores)(x), name=name)
        self.embedding, self.parts, self.scores, self.context = embedding, parts, scores, context

    def attention(self, tokens: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Return the attention weights (B, H, T, T) of each attention layer for tokens (B, T)."""
        return [part.attention_weights(x) for part, x, _ in self._pass(tokens) if isinstance(part, Attending)]

    def gates(self, tokens: keras.KerasTensor) -> dict[str, Gates]:
        """Return the gates and the output (B, T, units) of each GRU or LSTM for tokens (B, T)."""
        layers = [
            (read_gates(part.layer, x, y), y) for part, x, y in self._pass(tokens) if isinstance(part, Recurrence)
        ]
        return {f"layer {at}": {**gates, "state": y} for at, (gates, y) in enumerate(layers, 1) if gates}

    def _pass(self, tokens: keras.KerasTensor) -> Iterator[tuple[Any, keras.KerasTensor, keras.KerasTensor]]:
        """Read tokens (B, T); give each part with its input and its output."""
        x = self.embedding(tokens)
        for part in self.parts:
            y = part(x)
            yield part, x, y
            x = y

    def start(self, batch: int, length: int) -> State:
        """Return the state before the first token, with room for `length` tokens."""
        states = [part.start(batch, length) for part in self.parts if isinstance(part, Part)]
        return {"position": ops.zeros((batch,), "int32"), "parts": states}

    def step(self, tokens: keras.KerasTensor, state: State, by_row: bool = False) -> tuple[keras.KerasTensor, State]:
        """Return the scores of the token after each of the next tokens (B, n), and the new state."""
        x, state = self.go_on(tokens, state, by_row)
        return self.scores(x), state

    def go_on(self, tokens: keras.KerasTensor, state: State, by_row: bool = False) -> tuple[keras.KerasTensor, State]:
        """Return the hidden states from which the scores are computed (B, n, D), and the new state."""
        position = state["position"][:, None] if by_row else state["position"][0]
        x, states, given = self.embedding(tokens), [], iter(state["parts"])
        for part in self.parts:
            if isinstance(part, Part):
                x, own = part.step(x, next(given), position)
                states.append(own)
            else:
                x = part(x)
        return x, {"position": state["position"] + ops.shape(tokens)[1], "parts": states}


class Mixture(LanguageModel):
    """Mixture of a network and n-gram counts.

    The weight of the counts depends on the text so far (Bengio et al. 2003, section 4). In training, each token is left
    out of the counts that predict it. Otherwise the counts would have memorized it. The network also learns from its
    own loss. Otherwise it would hardly start to learn, because the counts predict well from the beginning. The outputs
    are the hidden states from which the scores are computed.
    """

    can_distill = False

    def __init__(self, counts: Counts, *network: Any):
        super().__init__(*network, outputs=keras.layers.Identity())
        self.scores(self.output)  # builds the layer: only the loss uses it, and the optimizer is built before that
        self.counts, self.share = counts, Share(SHARE_UNITS)
        self.look_up = traced_once(counts.look_up)  # half of the time in which an export is traced
        self.share.build(((None, None, self.output.shape[-1]), (None, None, counts.order)))

    def load(self) -> None:
        """Count the n-grams of the training text."""
        self.counts.learn()

    def start(self, batch: int, length: int) -> State:
        """Return the state of the network, and -1 in place of the last tokens."""
        return {**super().start(batch, length), "last": ops.full((batch, self.counts.order - 1), -1, "int32")}

    def step(self, tokens: keras.KerasTensor, state: State, by_row: bool = False) -> tuple[keras.KerasTensor, State]:
        """Return the log-probabilities of the token after each of the next tokens (B, n), and the new state."""
        x, network = self.go_on(tokens, state, by_row)
        joined, steps = ops.concatenate([state["last"], tokens], axis=1), ops.shape(tokens)[1]
        probabilities, seen = (each[:, -steps:] for each in self.look_up(joined))
        last = joined[:, ops.shape(joined)[1] - self.counts.order + 1 :]
        own = self.share([x, seen])[..., None]
        scores = _mixed(ops.log_softmax(self.scores(x)), ops.log(probabilities), own)
        return scores, {**network, "last": ops.reshape(last, (ops.shape(tokens)[0], self.counts.order - 1))}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> keras.KerasTensor:
        """Return the negative log-likelihood of the mixture, averaged.

        The gradient includes that of the network's own loss, so that the network learns even if its weight is small.
        """
        probabilities, seen = self.counts.leave_out(x["tokens"], y)
        scores = ops.cast(self.scores(y_pred), probabilities.dtype)
        own = -ops.sparse_categorical_crossentropy(y, scores, from_logits=True)
        mixed = _mixed(own, ops.log(probabilities), self.share([y_pred, seen]))
        return -ops.mean(mixed + own - ops.stop_gradient(own))


class Share(keras.layers.Layer):
    """Predict the weight of the counts, as a logit: (B, T, D) and context counts (B, T, K) -> (B, T)."""

    def __init__(self, units: int):
        super().__init__()
        self.read, self.join, self.give = (
            keras.layers.Dense(units),
            keras.layers.Dense(units, "tanh"),
            keras.layers.Dense(1),
        )

    def build(self, shapes: tuple) -> None:
        """Build the layers."""
        (*_, width), (*_, contexts) = shapes
        self.read.build((None, None, width))
        self.join.build((None, None, self.read.units + contexts))
        self.give.build((None, None, self.join.units))

    def call(self, inputs: tuple[keras.KerasTensor, keras.KerasTensor]) -> keras.KerasTensor:
        """Combine the hidden states with the logarithms of the context counts."""
        x, seen = inputs
        seen = ops.log1p(ops.cast(seen, "float32"))
        return self.give(self.join(ops.concatenate([self.read(x), seen], axis=-1)))[..., 0]


def _mixed(network: keras.KerasTensor, counts: keras.KerasTensor, share: keras.KerasTensor) -> keras.KerasTensor:
    """Mix log-probabilities. The weight of the counts is the sigmoid of `share`."""
    share = ops.cast(share, counts.dtype)  # the counts are in float32 in every precision
    return ops.logaddexp(network + ops.log_sigmoid(-share), counts + ops.log_sigmoid(share))
