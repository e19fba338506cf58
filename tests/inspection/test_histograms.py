"""The picture of the layers shows dead units, saturated units and gradients, and says why if there are none."""

import numpy as np
import pytest

from pipelines.inspection.histograms import layer_histograms
from pipelines.inspection.layers import SeenLayer

RANDOM = np.random.default_rng(0)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_layer_has_a_row_with_what_is_wrong_in_it():
    dead = np.maximum(RANDOM.normal(size=(50, 4)) - [0, 0, 100, 100], 0)
    flat = np.tanh(RANDOM.choice([-9.0, 9.0], size=(50, 4)))
    layers = [
        SeenLayer("first", "relu", dead, RANDOM.normal(size=20)),
        SeenLayer("second", "tanh", flat, np.zeros(20)),
        SeenLayer("out", "linear", flat, np.full(5, 0.01)),
        SeenLayer("scale", "linear", flat, None),  # neither weights nor a curve: nothing to see
    ]
    figure = layer_histograms(layers)
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["first", "second", "out"]
    assert {"relu, 50% dead", "tanh, 100% saturated", "no activation", "rms 1.0e-02"} <= set(texts(figure))
    assert "rms 0.0e+00, 100% zero" in texts(figure)


def test_of_many_layers_some_are_drawn_and_bad_gradients_break_nothing():
    many = [SeenLayer(f"layer {at}", "relu", np.ones((3, 2)), np.array([1.0, np.nan, np.inf])) for at in range(40)]
    figure = layer_histograms(many)
    assert figure.axes[0].get_ylabel() == "layer 0" and figure.axes[-2].get_ylabel() == "layer 39"
    assert "16 of 40 layers" in figure._suptitle.get_text()


def test_without_weights_there_is_no_picture():
    assert layer_histograms([]) is None
    assert layer_histograms([SeenLayer("only", "relu", np.ones((3, 2)), None)]) is None


@pytest.mark.figures
def test_every_report_has_it(finished_run):
    assert (finished_run / "report" / "layers.png").stat().st_size > 1000
    assert "Layers" in (finished_run / "report" / "index.html").read_text()
