"""Models that start from pretrained weights, and how these are fine-tuned."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypedDict, runtime_checkable

import keras
from pydantic import Field

from pipelines.errors import UserError
from pipelines.presets import PresetName


class FineTuning(TypedDict):
    """Settings of every model that starts from a pretrained backbone."""

    preset: PresetName
    freeze: Annotated[bool, Field(description="do not train the backbone, only the rest of the model")]
    unfreeze_after_epochs: Annotated[
        int,
        Field(ge=0, description="number of epochs before the backbone is fine-tuned as well; 0: from the start"),
    ]
    backbone_learning_rate: Annotated[
        float | None,
        Field(gt=0, description="peak learning rate of the backbone; null: optimizer.learning_rate"),
    ]
    layer_decay: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="factor of the learning rate from each backbone layer to the one below it (Howard & Ruder 2018;"
            " Clark et al. 2020); 1: the same for all",
        ),
    ]
    lora_rank: Annotated[
        int | None,
        Field(
            ge=1,
            description="rank of low-rank updates that are trained in place of the backbone's weights (Hu et al. 2022);"
            " null: train the weights",
        ),
    ]


@dataclass(frozen=True)
class Pretrained:
    """The pretrained layers of a model, in groups from input to output, and how they are trained."""

    groups: Sequence[Sequence[keras.Layer]]
    load: Callable[[], None]
    frozen_epochs: float = 0  # infinity: for ever
    learning_rate: float | None = None
    layer_decay: float = 1.0
    has_lora: bool = False  # only low-rank updates are trained; Keras has set the layers' `trainable` flags

    @classmethod
    def fine_tuned(
        cls, groups: Sequence[Sequence[keras.Layer]], load: Callable[[], None], settings: FineTuning
    ) -> "Pretrained":
        """Return the pretrained part of a model with the settings of its config.

        Raises:
            UserError: If they contradict each other.
        """
        if settings["freeze"] and settings["lora_rank"] is not None:
            problem = "has no effect if the backbone is frozen; set it to null, or freeze to false"
            raise UserError("models.pretrained.lora_rank", problem)
        return cls(
            groups,
            load,
            float("inf") if settings["freeze"] else settings["unfreeze_after_epochs"],
            settings["backbone_learning_rate"],
            settings["layer_decay"],
            settings["lora_rank"] is not None,
        )

    @property
    def frozen(self) -> bool:
        """Whether the layers are never trained."""
        return self.frozen_epochs == float("inf")

    @property
    def layers(self) -> list[keras.Layer]:
        """All pretrained layers."""
        return [layer for group in self.groups for layer in group]

    def freeze(self, epoch: int) -> bool:
        """Freeze or unfreeze the layers for a 0-based epoch; return whether anything changed."""
        learns = epoch >= self.frozen_epochs
        parts: list = self.layers
        if self.has_lora:
            parts = [each for layer in self.layers for each in layer.variables if each.name.startswith("lora_")]
        if all(part.trainable == learns for part in parts):
            return False
        for part in parts:
            part.trainable = learns
        return True

    def learning_rate_factors(self, peak: float) -> dict[str, float]:
        """Return the factor of the learning rate by path of variable, for an optimizer's `peak` learning rate."""
        ratio = 1.0 if self.learning_rate is None else self.learning_rate / peak
        factors: dict[str, float] = {}
        for depth, group in enumerate(reversed(self.groups)):
            factor = ratio * self.layer_decay**depth
            factors |= {variable.path: factor for layer in group for variable in layer.variables}
        return {path: factor for path, factor in factors.items() if factor != 1.0}


def layer_groups(encoder: keras.Model) -> list[list[keras.Layer]]:
    """Return the layers of a Transformer that have weights: its embeddings, then a group for each block."""
    groups: list[list[keras.Layer]] = [[]]
    for layer in encoder.layers:
        if re.search(r"_\d+$", layer.name) and layer.weights:  # such as transformer_layer_0
            groups.append([layer])
        elif layer.weights:
            groups[-1].append(layer)
    return groups


@runtime_checkable
class HasPretrained(Protocol):
    """A model some of whose layers are pretrained."""

    pretrained: Pretrained


class PretrainedModel(keras.Model):
    """A functional model with pretrained layers.

    `load` loads the pretrained weights. It is only called before training: a model that is rebuilt to load the weights
    of a run needs no weights file and no network. `features` is the output of the pretrained layers in the graph, if
    nothing else of the model sees its inputs.
    """

    def __init__(
        self,
        inputs: dict[str, keras.KerasTensor],
        outputs: keras.KerasTensor,
        *,
        pretrained: Pretrained,
        features: keras.KerasTensor | None = None,
        name: str,
    ):
        super().__init__(inputs, outputs, name=name)
        self.pretrained = pretrained
        self.features = features
        if pretrained.frozen:  # now, so that the optimizer keeps no state for the layers
            pretrained.freeze(0)

    def load(self) -> None:
        """Load the pretrained weights."""
        self.pretrained.load()


@runtime_checkable
class LoadsWeights(Protocol):
    """A model some of whose weights come from elsewhere: from a file, from the network, or from counts."""

    def load(self) -> None:
        """Load these weights."""


def load_pretrained_weights(model: keras.Model) -> None:
    """Load the pretrained weights of a model, if it has any."""
    if isinstance(model, LoadsWeights):
        model.load()


def learning_rate_factors(model: keras.Model, peak: float) -> Mapping[str, float]:
    """Return the factor of the learning rate by path of variable; variables that it lacks have the factor 1."""
    return model.pretrained.learning_rate_factors(peak) if isinstance(model, HasPretrained) else {}


class Unfreeze(keras.callbacks.Callback):
    """Freeze the pretrained layers of a model for its first epochs, then unfreeze them."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the layers' `trainable` flag, and retrace the training step if it changes."""
        if self.model.pretrained.freeze(epoch):
            self.model.make_train_function(force=True)
