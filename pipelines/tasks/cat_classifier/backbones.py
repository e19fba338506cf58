"""Pretrained backbones from `keras.applications`, and how their weights are loaded."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import keras

from pipelines.errors import UserError

Backbone = Literal["mobilenet_v2", "mobilenet_v3_small", "efficientnet_v2_b0", "resnet50_v2"]
# name -> network, and the scale and offset that map pixels from 0 to 255 to its input range
BACKBONES: dict[Backbone, tuple[Callable[..., keras.Model], float, float]] = {
    "mobilenet_v2": (keras.applications.MobileNetV2, 1 / 127.5, -1.0),
    "mobilenet_v3_small": (keras.applications.MobileNetV3Small, 1.0, 0.0),
    "efficientnet_v2_b0": (keras.applications.EfficientNetV2B0, 1.0, 0.0),
    "resnet50_v2": (keras.applications.ResNet50V2, 1 / 127.5, -1.0),
}


def load_backbone(network: keras.Model, backbone: Backbone, weights: str, image_size: int) -> None:
    """Load the weights of a backbone: `imagenet`, those of a file, or `none`.

    Raises:
        UserError: If the file does not exist or does not fit the backbone, or if the download fails.
    """
    where = "models.pretrained.weights"
    if weights == "none":
        return
    if weights == "imagenet":
        try:
            shape = (image_size, image_size, 3)
            trained = BACKBONES[backbone][0](include_top=False, weights="imagenet", input_shape=shape, pooling="avg")
        except Exception as error:  # keras.utils.get_file raises a bare Exception if a download fails
            hint = "set it to a .weights.h5 file, or run with network access"
            raise UserError(where, f"the ImageNet weights cannot be downloaded ({error}); {hint}") from None
        network.set_weights(trained.get_weights())
        return
    if not Path(weights).is_file():
        raise UserError(where, f"no such file: {weights}; use none, imagenet or a .weights.h5 file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that are not in the file
            network.load_weights(weights)
    except (ValueError, OSError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        problem = f"{weights} does not contain the weights of {backbone} without its head: {reason}"
        raise UserError(where, problem) from None
