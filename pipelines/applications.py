"""Image backbones of `keras.applications`: networks without a head, with weights of ImageNet."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from pipelines.errors import UserError

WHERE = "models.pretrained.weights"
PUBLISHED, RANDOM = "published", "none"  # values of the setting `weights`, which may also be the path of a file


@dataclass(frozen=True)
class Application:
    """A network, and the scale and offset that map pixels from 0 to 255 to its input range."""

    network: Callable[..., keras.Model]
    scale: float = 1.0
    offset: float = 0.0


APPLICATIONS = {
    "mobilenet_v2": Application(keras.applications.MobileNetV2, 1 / 127.5, -1.0),
    "mobilenet_v3_small": Application(keras.applications.MobileNetV3Small),
    "efficientnet_v2_b0": Application(keras.applications.EfficientNetV2B0),
    "resnet50_v2": Application(keras.applications.ResNet50V2, 1 / 127.5, -1.0),
    "convnext_tiny": Application(keras.applications.ConvNeXtTiny),
}


def make_application(name: str, input_shape: tuple[int | None, ...], weights: str | None = None) -> keras.Model:
    """Return a network from images (B, H, W, 3) to feature maps (B, h, w, F)."""
    return APPLICATIONS[name].network(include_top=False, weights=weights, input_shape=input_shape)


def load_imagenet_weights(name: str, backbone: keras.Model) -> None:
    """Download the ImageNet weights of a network, or take them from Keras's cache.

    Raises:
        UserError: If the download fails.
    """
    try:
        trained = make_application(name, backbone.input_shape[1:], "imagenet")
    except Exception as error:  # keras.utils.get_file raises a bare Exception if a download fails
        hint = "set it to a .weights.h5 file, or run with network access"
        reason = str(error).strip().splitlines()[0]
        raise UserError(WHERE, f"the ImageNet weights cannot be downloaded ({reason}); {hint}") from None
    backbone.set_weights(trained.get_weights())


def load_weights_file(path: str, backbone: keras.Model, name: str) -> None:
    """Load the weights of a backbone from a `.weights.h5` file.

    Raises:
        UserError: If the file does not exist or does not fit the backbone.
    """
    if not Path(path).is_file():
        raise UserError(WHERE, f"no such file: {path}; use {PUBLISHED}, {RANDOM} or a .weights.h5 file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that are not in the file
            backbone.load_weights(path)
    except (ValueError, OSError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise UserError(WHERE, f"{path} does not contain the weights of {name} without its head: {reason}") from None
