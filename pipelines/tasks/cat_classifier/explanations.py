"""Explain an image model: heat maps in the graph, and plots of Grad-CAM, the first layer and feature maps.

Shapes: B images, H and W pixels or positions, F filters.
"""

from collections.abc import Sequence

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

MOST_FILTERS = 32
PICTURE_SIDE = 224  # pixels
WARMTH = 0.45  # share of the colours of the heat map in the picture


class HeatMap:
    """Where the evidence for the predicted class is, in the graph: images (B, H, W, 3) -> (B, H, W), from 0 to 1.

    With feature maps, by Grad-CAM of the last ones (Selvaraju et al. 2017). Without, as in a multilayer perceptron, by
    the largest absolute gradient of each pixel's colours (Simonyan et al. 2014, section 3). `method` tells which.
    """

    def __init__(self, model: keras.Model):
        maps = _maps(model)
        self.method = "grad_cam" if maps else "gradient"
        self._both = keras.Model(model.inputs, [maps[-1].output if maps else model.inputs[0], model.output])

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return the heat map of each image."""
        pixels = tf.cast(images, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(pixels)  # records all later operations, even if the layers are frozen
            features, logits = self._both({"image": pixels}, training=False)
            # A single logit supports the positive class if it is above zero, and the negative class if it is below.
            spoken = tf.abs(logits[:, 0]) if logits.shape[1] == 1 else tf.reduce_max(logits, axis=1)
        if self.method == "gradient":
            heat = tf.reduce_max(tf.abs(tape.gradient(spoken, pixels)), axis=3, keepdims=True)
        else:
            slopes = tape.gradient(spoken, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
            heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=3, keepdims=True))
        heat = heat / (tf.reduce_max(heat, axis=(1, 2, 3), keepdims=True) + 1e-9)
        return tf.image.resize(heat, tf.shape(images)[1:3])[..., 0]


def heat_pictures(heat_map: HeatMap, images: tf.Tensor) -> tf.Tensor:
    """Return PNG files (B,) of images (B, H, W, 3) under their heat maps, in the graph."""
    size = [PICTURE_SIDE, PICTURE_SIDE]
    heat = tf.image.resize(heat_map(images)[..., None], size)[..., 0]
    colours = tf.constant(matplotlib.colormaps["jet"](np.arange(256))[:, :3] * 255, tf.float32)
    warm = tf.gather(colours, tf.cast(tf.clip_by_value(heat, 0.0, 1.0) * 255, tf.int32))
    below = tf.image.resize(tf.cast(images, tf.float32), size)
    pixels = tf.cast(tf.round((1 - WARMTH) * below + WARMTH * warm), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.TensorSpec([], tf.string))


def grad_cam(model: keras.Model, images: np.ndarray, captions: Sequence[str], mistakes: int) -> Figure | None:
    """Draw Grad-CAM heat maps of the last feature maps (Selvaraju et al. 2017), or return None if there are none.

    The first `mistakes` of the images (B, H, W, 3) are mistakes, the others are correct predictions.
    """
    if not _maps(model) or not len(images):
        return None
    heat = HeatMap(model)(tf.constant(images, tf.float32)).numpy()
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
    maps = _maps(model)
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


def _maps(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if _is_map(layer)]


def _is_map(layer: keras.Layer) -> bool:
    """Return whether the output of a layer is a feature map (B, H, W, F).

    Input and rescaling layers do not count, nor does a backbone as a whole.
    """
    if isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling | keras.Model):
        return False
    shape = layer.output.shape
    return len(shape) == 4 and shape[1] > 1


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
