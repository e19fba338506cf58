"""Models that start from pretrained weights."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import keras


class PretrainedModel(keras.Model):
    """A model with pretrained layers that stay frozen for the first epochs.

    `load` loads the pretrained weights. It is only called before training: a model that is rebuilt to load the weights
    of a run needs no weights file and no network.
    """

    def __init__(
        self,
        inputs: dict[str, keras.KerasTensor],
        outputs: keras.KerasTensor,
        *,
        pretrained_layers: Sequence[keras.Layer],
        load: Callable[[], None],
        frozen_epochs: int,
        name: str,
    ):
        super().__init__(inputs, outputs, name=name)
        self.pretrained_layers, self.load, self.frozen_epochs = pretrained_layers, load, frozen_epochs


@runtime_checkable
class LoadsWeights(Protocol):
    """A model some of whose weights come from elsewhere: from a file, from the network, or from counts."""

    def load(self) -> None:
        """Load these weights."""


def load_pretrained_weights(model: keras.Model) -> None:
    """Load the pretrained weights of a model, if it has any."""
    if isinstance(model, LoadsWeights):
        model.load()


class Unfreeze(keras.callbacks.Callback):
    """Freeze the pretrained layers of a `PretrainedModel` for its first epochs, then unfreeze them."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the layers' `trainable` flag, and retrace the training step if it changes."""
        learns = epoch >= self.model.frozen_epochs
        if any(layer.trainable != learns for layer in self.model.pretrained_layers):
            for layer in self.model.pretrained_layers:
                layer.trainable = learns
            self.model.make_train_function(force=True)
