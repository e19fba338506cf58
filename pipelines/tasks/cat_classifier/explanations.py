"""Plots that explain an image model: Grad-CAM, filters of the first layer, and feature maps.

Shapes: B images, H and W pixels or positions, F filters.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

MOST_FILTERS = 32


def grad_cam(model: keras.Model, images: np.ndarray, captions: Sequence[str], mistakes: int) -> Figure | None:
    """Draw Grad-CAM heat maps of the last feature maps (Selvaraju et al. 2017), or return None if there are none.

    The first `mistakes` of the images (B, H, W, 3) are mistakes, the others are correct predictions.
    """
    maps = [layer for layer in model.layers if _is_map(layer)]
    if not maps or not len(images):
        return None
    heat = _heat(model, maps[-1], images)
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.9 * columns + 0.5, 2 * rows * 2 + 0.6), layout="constrained")
    count = f"{mistakes} mistake{'s' * (mistakes != 1)}"
    figure.suptitle(f"Grad-CAM: evidence for the predicted class; first {count}, then correct predictions")
    for number, (image, warm, caption) in enumerate(zip(images, heat, captions, strict=True)):
        row, column = divmod(number, columns)
        for below, overlay in enumerate((None, warm)):
            axes = figure.add_subplot(2 * rows, columns, (2 * row + below) * columns + column + 1)
            axes.imshow(image)
            if overlay is not None:
                axes.imshow(overlay, cmap="jet", alpha=0.45, vmin=0, vmax=1)
            else:
                axes.set_title(caption, fontsize=8)
            axes.axis("off")
    return figure


def first_layer(model: keras.Model) -> Figure | None:
    """Draw the weights of the first layer as images, or return None if they do not apply to RGB pixels."""
    layer = next(layer for layer in model.layers if layer.weights)
    kernel = keras.ops.convert_to_numpy(layer.weights[0])
    if isinstance(layer, keras.layers.Dense):
        height, width, channels = model.inputs[0].shape[1:]
        kernel = kernel.reshape(height, width, channels, -1)
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        return None
    kernel = kernel[..., :MOST_FILTERS]
    most = np.abs(kernel).max(axis=(0, 1, 2), keepdims=True)
    tiles = np.moveaxis(0.5 + 0.5 * kernel / np.maximum(most, 1e-9), 3, 0)
    return _tiles(tiles, f"Weights of the first layer, '{layer.name}' (grey: zero)")


def feature_maps(model: keras.Model, images: np.ndarray) -> Figure | None:
    """Draw the first and the last feature maps, or those of a backbone, for the first of the images (B, H, W, 3)."""
    maps = [layer for layer in model.layers if _is_map(layer)]
    maps = [layer for layer in maps if layer.weights] or maps
    if not maps or not len(images):
        return None
    chosen = list(dict.fromkeys([maps[0], maps[-1]]))
    named = {layer.name: layer.output for layer in chosen}
    outputs = keras.Model(model.inputs, named)({"image": images[:1]}, training=False)
    figure = Figure(figsize=(10, 4 * len(chosen)), layout="constrained")
    halves = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for half, (name, output) in zip(halves, outputs.items(), strict=True):
        half.suptitle(f"Feature maps of '{name}' for one test image")
        planes = np.moveaxis(keras.ops.convert_to_numpy(output[0]), 2, 0)[: MOST_FILTERS - 1]
        for place, (plane, colours) in enumerate([(images[0], None), *((plane, "viridis") for plane in planes)], 1):
            axes = half.add_subplot(4, 8, place)
            axes.imshow(plane, cmap=colours)
            axes.axis("off")
    return figure


def _is_map(layer: keras.Layer) -> bool:
    """Return whether the output of a layer is a feature map (B, H, W, F).

    Input and rescaling layers do not count, nor does a backbone as a whole.
    """
    if isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling | keras.Model):
        return False
    shape = layer.output.shape
    return len(shape) == 4 and shape[1] > 1


def _heat(model: keras.Model, layer: keras.Layer, images: np.ndarray) -> np.ndarray:
    """Return the feature maps weighted by the mean gradient of the predicted logit: (B, H, W), from 0 to 1."""
    both = keras.Model(model.inputs, [layer.output, model.output])
    pixels = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)  # records all later operations, even if the layers are frozen
        features, logits = both({"image": pixels}, training=False)
        # A single logit supports the positive class if it is above zero, and the negative class if it is below.
        spoken = tf.abs(logits[:, 0]) if logits.shape[1] == 1 else tf.reduce_max(logits, axis=1)
    weights = tf.reduce_mean(tape.gradient(spoken, features), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=3, keepdims=True))
    heat = tf.image.resize(heat / (tf.reduce_max(heat, axis=(1, 2, 3), keepdims=True) + 1e-9), images.shape[1:3])
    return heat[..., 0].numpy()


def _tiles(tiles: np.ndarray, title: str) -> Figure:
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(1.2 * columns + 0.5, 1.2 * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for place, tile in enumerate(tiles, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(tile)
        axes.axis("off")
    return figure
