"""Language models as layers in a row, which carry a state from token to token.

Shapes: B texts, T tokens, n next tokens, V token ids, D features.
"""

from typing import Any

import keras
from keras import ops

from pipelines.layers.recurrent import CELLS
from pipelines.tasks.language_model.ngram import Counts
from pipelines.text.sampling import GenerativeModel, State

SHARE_UNITS = 32  # of the layer that decides how far to trust counts


class Mean(keras.layers.Layer):
    """Average each step with all before it: (B, T, D) -> (B, T, D)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Average within the whole sequence."""
        return ops.cumsum(x, axis=1) / ops.cumsum(ops.ones_like(x[:, :, :1]), axis=1)

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Give the sum of nothing, with a count behind it."""
        return ops.zeros((batch, self.width + 1))

    def build(self, shape: tuple) -> None:
        """Remember the width."""
        self.width = shape[-1]

    def step(self, x: keras.KerasTensor, sums: keras.KerasTensor, position: Any) -> tuple:
        """Go on from the sum so far."""
        counted = ops.concatenate([x, ops.ones_like(x[:, :, :1])], axis=-1)
        sums = sums[:, None] + ops.cumsum(counted, axis=1)
        return sums[:, :, :-1] / sums[:, :, -1:], sums[:, -1]


class Window(keras.layers.Layer):
    """Map each step together with those right before it: (B, T, D) -> (B, T, units), zeros before the first."""

    def __init__(self, reach: int, units: int):
        super().__init__()
        self.reach = reach
        self.map = keras.layers.Conv1D(units, reach, activation="tanh")  # that is: joined, then a dense layer

    def build(self, shape: tuple) -> None:
        """Build the hidden layer."""
        self.width = shape[-1]
        self.map.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Map the whole sequence."""
        return self.map(ops.pad(x, ((0, 0), (self.reach - 1, 0), (0, 0))))

    def start(self, batch: int, length: int) -> keras.KerasTensor:
        """Give the zeros before the first step."""
        return ops.zeros((batch, self.reach - 1, self.width))

    def step(self, x: keras.KerasTensor, before: keras.KerasTensor, position: Any) -> tuple:
        """Go on after the steps before."""
        joined = ops.concatenate([before, x], axis=1)
        last = joined[:, ops.shape(joined)[1] - self.reach + 1 :]
        return self.map(joined), ops.reshape(last, (ops.shape(x)[0], self.reach - 1, self.width))


class Recurrence(keras.layers.Layer):
    """Carry a state from step to step: (B, T, D) -> (B, T, units)."""

    def __init__(self, cell: str, units: int):
        super().__init__()
        self.states = 2 if cell == "lstm" else 1
        self.units = units
        self.layer = CELLS[cell](units, return_sequences=True, return_state=True)

    def build(self, shape: tuple) -> None:
        """Build the recurrent layer."""
        self.layer.build(shape)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Start from zeros."""
        return self.layer(x)[0]

    def start(self, batch: int, length: int) -> list[keras.KerasTensor]:
        """Give a state of zeros."""
        return [ops.zeros((batch, self.units)) for _ in range(self.states)]

    def step(self, x: keras.KerasTensor, state: list[keras.KerasTensor], position: Any) -> tuple:
        """Go on from a state."""
        y, *state = self.layer(x, initial_state=state)
        return y, state


class LanguageModel(GenerativeModel):
    """Layers in a row; those with a `step` carry a state, the others map each token on its own."""

    one_shape = True

    def __init__(
        self,
        embedding: keras.Layer,
        parts: list,
        scores: Any,
        name: str,
        context: int | None,
        outputs: Any = None,
    ):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = embedding(tokens)
        for part in parts:
            x = part(x)
        super().__init__({"tokens": tokens}, (outputs or scores)(x), name=name)
        self.embedding, self.parts, self.scores, self.context = embedding, parts, scores, context

    def attention(self, tokens: keras.KerasTensor) -> list[keras.KerasTensor]:
        """Give how much each token of (B, T) attends to each, layer by layer: (B, H, T, T) each; of others nothing."""
        x, weights = self.embedding(tokens), []
        for part in self.parts:
            if hasattr(part, "attention_weights"):
                weights.append(part.attention_weights(x))
            x = part(x)
        return weights

    def start(self, batch: int, length: int) -> State:
        """Give the state before the first token, with room for `length`."""
        states = [part.start(batch, length) for part in self.parts if hasattr(part, "step")]
        return {"position": ops.zeros((batch,), "int32"), "parts": states}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Score what follows each of the next tokens (B, n)."""
        x, state = self.go_on(tokens, state)
        return self.scores(x), state

    def go_on(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Give what scores are made from (B, n, D)."""
        position = state["position"][0]
        x, states, given = self.embedding(tokens), [], iter(state["parts"])
        for part in self.parts:
            if hasattr(part, "step"):
                x, own = part.step(x, next(given), position)
                states.append(own)
            else:
                x = part(x)
        return x, {"position": state["position"] + ops.shape(tokens)[1], "parts": states}


class Mixture(LanguageModel):
    """A network and counts, mixed by a share that depends on the text so far (Bengio et al. 2003, section 4).

    Training leaves each place of the text out of the counts that it is weighed against, as they would know it by
    heart. The network learns on its own too: it would hardly begin beside counts that are right long before.
    Outputs are what scores are made from.
    """

    def __init__(self, counts: Counts, *network: Any):
        super().__init__(*network, outputs=keras.layers.Identity())
        self.scores(self.output)  # builds it: the loss alone uses it, once the optimizer is built
        self.counts, self.share = counts, Share(SHARE_UNITS)
        self.share.build(((None, None, self.output.shape[-1]), (None, None, counts.order)))

    def load(self) -> None:
        """Count the training text."""
        self.counts.learn()

    def start(self, batch: int, length: int) -> State:
        """Give the network's state, and as many tokens as count, none of which is one."""
        return {**super().start(batch, length), "last": ops.full((batch, self.counts.order - 1), -1, "int32")}

    def step(self, tokens: keras.KerasTensor, state: State) -> tuple[keras.KerasTensor, State]:
        """Score what follows each of the next tokens (B, n), by logarithms of probabilities."""
        x, network = self.go_on(tokens, state)
        joined, steps = ops.concatenate([state["last"], tokens], axis=1), ops.shape(tokens)[1]
        probabilities, seen = (each[:, -steps:] for each in self.counts.look_up(joined))
        last = joined[:, ops.shape(joined)[1] - self.counts.order + 1 :]
        own = self.share([x, seen])[..., None]
        scores = _mixed(ops.log_softmax(self.scores(x)), ops.log(probabilities), own)
        return scores, {**network, "last": ops.reshape(last, (ops.shape(tokens)[0], self.counts.order - 1))}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> keras.KerasTensor:
        """Give minus the log-probability of each token by the mixture, averaged.

        The gradient is that of the network's own too, so that it learns however small its share.
        """
        probabilities, seen = self.counts.leave_out(x["tokens"], y)
        own = -ops.sparse_categorical_crossentropy(y, self.scores(y_pred), from_logits=True)
        mixed = _mixed(own, ops.log(probabilities), self.share([y_pred, seen]))
        return -ops.mean(mixed + own - ops.stop_gradient(own))


class Share(keras.layers.Layer):
    """Give how far to trust counts, as a logit: (B, T, D) and how often each context occurs (B, T, K) -> (B, T)."""

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
        """Look at both."""
        x, seen = inputs
        seen = ops.log1p(ops.cast(seen, "float32"))
        return self.give(self.join(ops.concatenate([self.read(x), seen], axis=-1)))[..., 0]


def _mixed(network: keras.KerasTensor, counts: keras.KerasTensor, share: keras.KerasTensor) -> keras.KerasTensor:
    """Mix log-probabilities: the counts' part is the sigmoid of `share`."""
    return ops.logaddexp(network + ops.log_sigmoid(-share), counts + ops.log_sigmoid(share))
