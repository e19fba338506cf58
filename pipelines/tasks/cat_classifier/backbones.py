"""Networks of `keras.applications` that a head can be put on, and where their weights come from."""

import warnings
from pathlib import Path

import keras

from pipelines.errors import UserError

BACKBONES = {  # name -> network, and what brings pixels of 0 to 255 to the range it was trained on
    "mobilenet_v2": (keras.applications.MobileNetV2, 1 / 127.5, -1.0),
    "mobilenet_v3_small": (keras.applications.MobileNetV3Small, 1.0, 0.0),
    "efficientnet_v2_b0": (keras.applications.EfficientNetV2B0, 1.0, 0.0),
    "resnet50_v2": (keras.applications.ResNet50V2, 1 / 127.5, -1.0),
}


def load_backbone(network: keras.Model, backbone: str, weights: str, image_size: int) -> None:
    """Give a backbone the weights `imagenet`, those of a file, or none.

    Raises:
        UserError: where the file does not exist or does not fit, or no network answers.
    """
    where = "models.pretrained.weights"
    if weights == "none":
        return
    if weights == "imagenet":
        try:
            shape = (image_size, image_size, 3)
            trained = BACKBONES[backbone][0](include_top=False, weights="imagenet", input_shape=shape, pooling="avg")
        except Exception as error:  # keras.utils.get_file raises a bare Exception where a download fails
            mend = "name a .weights.h5 file, or run where a network answers"
            raise UserError(where, f"the ImageNet weights cannot be downloaded ({error}); {mend}") from None
        network.set_weights(trained.get_weights())
        return
    if not Path(weights).is_file():
        raise UserError(where, f"no such file: {weights}; it takes none, imagenet or a .weights.h5 file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras warns of layers that the file leaves as they were
            network.load_weights(weights)
    except (ValueError, OSError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise UserError(where, f"{weights} holds no weights of a headless {backbone}: {reason}") from None
