"""Models that start from weights learnt elsewhere."""

from collections.abc import Callable, Sequence

import keras


class PretrainedModel(keras.Model):
    """A model some of whose layers take given weights before training, and keep them for its first epochs.

    `load` gives those layers their weights. It is called before training only: a model that is built again for the
    weights of its run needs no file and no network.
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


def load_pretrained_weights(model: keras.Model) -> None:
    """Load the weights that a model starts from, where it has a `load` for them."""
    if hasattr(model, "load"):
        model.load()


class Unfreeze(keras.callbacks.Callback):
    """Hold the given layers of a `PretrainedModel` still for its first epochs, then let them learn too."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Trace the training step again where what learns has changed."""
        learns = epoch >= self.model.frozen_epochs
        if any(layer.trainable != learns for layer in self.model.pretrained_layers):
            for layer in self.model.pretrained_layers:
                layer.trainable = learns
            self.model.make_train_function(force=True)
