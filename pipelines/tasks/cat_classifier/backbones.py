"""Published image backbones: pixels scaled as in their training, their outputs pooled, their layers in groups.

Shapes: B images, S pixels per side, H and W positions, T tokens, F features.
"""

from collections import Counter
from itertools import groupby
from typing import Any

import keras

from pipelines.applications import PUBLISHED, RANDOM, load_weights_file
from pipelines.errors import UserError
from pipelines.presets import Preset
from pipelines.tasks.cat_classifier.preprocessing import Features

WITH_CLASS_TOKEN = ("ViT", "DeiT", "DINOV2", "DINOV3")  # families whose first token stands for the image
SIDE = "preprocessing.image_size"


def make_image_backbone(preset: Preset, image_size: int) -> keras.Model:
    """Return the backbone of a preset with random weights, for images of a size.

    Raises:
        UserError: If it cannot take images of this size.
    """
    key = "input_shape" if "input_shape" in preset.config else "image_shape"
    published = preset.config[key][0]
    problem = f"{preset.name} does not take images of {image_size} pixels"
    problem += f"; set it to {published}" if published else ""
    try:
        backbone = preset.with_config({key: [image_size, image_size, 3]}).make_backbone()
    except ValueError as error:
        raise UserError(SIDE, f"{problem} ({str(error).strip().splitlines()[0]})") from None
    if published not in (None, image_size) and _shapes(backbone) != _shapes(preset.make_backbone()):
        raise UserError(SIDE, problem)
    return backbone


def load_image_backbone(preset: Preset, backbone: keras.Model, weights: str, lora_rank: int | None) -> None:
    """Load the weights of a backbone before training: those published with it, those of a file, or none.

    With `lora_rank`, also add low-rank updates of its attention layers, as `Preset.load_weights` does.

    Raises:
        UserError: If the weights are not available or do not fit, or if there are no attention layers.
    """
    if weights == PUBLISHED:
        preset.load_weights(backbone, "models.pretrained.preset")
    elif weights != RANDOM:
        load_weights_file(weights, backbone, preset.name)
    if lora_rank is not None:
        _add_lora(backbone, preset, lora_rank)


def scaled(pixels: keras.KerasTensor, features: Features, preset: Preset) -> keras.KerasTensor:
    """Scale pixels from 0 to 255 as in the backbone's training, or by the training split if that is not stated."""
    given = {key: value for key, value in preset.image_config.items() if key in ("scale", "offset")}
    if any(value is not None for value in given.values()):
        scale, offset = given.get("scale"), given.get("offset")
        return keras.layers.Rescaling(1.0 if scale is None else scale, 0.0 if offset is None else offset)(pixels)
    scale = 1 / features.deviation
    return keras.layers.Rescaling(scale.tolist(), (-features.mean * scale).tolist())(pixels)


def image_features(pixels: keras.KerasTensor, backbone: keras.Model, preset: Preset, frozen: bool) -> keras.KerasTensor:
    """Return one vector per image (B, F): the mean feature map, the class token, or the mean token.

    A frozen backbone always works as in prediction: without dropout, with its own moments in batch normalization.
    """
    given = dict.fromkeys(backbone.input, pixels) if isinstance(backbone.input, dict) else pixels
    outputs = backbone(given, training=False) if frozen else backbone(given)
    if len(outputs.shape) == 4:
        maps = keras.layers.Identity(name="feature_maps")(outputs)  # for Grad-CAM
        return keras.layers.GlobalAveragePooling2D(name="features")(maps)
    if len(outputs.shape) == 3:
        if preset.family in WITH_CLASS_TOKEN and preset.config.get("use_class_token", True):
            return outputs[:, 0]
        return keras.layers.GlobalAveragePooling1D(name="features")(outputs)
    return outputs


def layer_groups(backbone: keras.Model) -> list[list[keras.Layer]]:
    """Return the layers with weights, from input to output, in groups that are one layer for `layer_decay`.

    A convolutional network has a group per size of its feature maps, a Transformer one per block.
    """
    parts = [part for layer in backbone.layers if layer.weights for part in _blocks(layer)]
    maps = [_map_size(part) for part in parts]
    keys = [("map", size) if size else ("layer", at) for at, size in enumerate(maps)]
    return [
        [part for part, _ in group] for _, group in groupby(zip(parts, keys, strict=True), key=lambda pair: pair[1])
    ]


def _blocks(layer: keras.Layer) -> list[keras.Layer]:
    """Return the repeated blocks of an encoder and its other layers, or the layer itself if it has no such blocks."""
    parts = [part for part in layer._flatten_layers(include_self=False, recursive=False) if part.weights]
    blocks = Counter(type(part) for part in parts if len(list(part._flatten_layers(include_self=False))) > 1)
    if max(blocks.values(), default=0) < 2 or sum(len(part.weights) for part in parts) != len(layer.weights):
        return [layer]
    return parts


def _map_size(layer: keras.Layer) -> int | None:
    """Return the height of the feature maps that a layer puts out; None if its output is not a feature map."""
    nodes = layer._inbound_nodes
    shape: tuple[Any, ...] = nodes[0].output_tensors[0].shape if nodes else ()
    return shape[1] if len(shape) == 4 else None


def _add_lora(backbone: keras.Model, preset: Preset, rank: int) -> None:
    if hasattr(backbone, "enable_lora"):
        backbone.enable_lora(rank)
    if not any(weight.name.startswith("lora_") for weight in backbone.weights):
        problem = f"{preset.name} has no attention layers, which low-rank updates are for; set it to null"
        raise UserError("models.pretrained.lora_rank", problem)


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]
