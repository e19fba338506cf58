"""Plots of a classifier's predictions: confusions, calibration and mistakes."""

from collections.abc import Collection, Mapping, Sequence

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics
from sklearn.calibration import CalibrationDisplay

from pipelines.data.batches import raw_batches
from pipelines.data.files import holds_files
from pipelines.evaluation import decoded
from pipelines.tasks.cat_classifier.explanations import feature_maps, first_layer, grad_cam
from pipelines.tasks.cat_classifier.preprocessing import ImagePreprocessor
from pipelines.tasks.cat_classifier.sources import KIND, LABEL, positive_of

SHOWN = 16  # images per page
MOST_CURVES = 12  # largest number of classes with their own curve
MOST_INCHES = 30  # largest side of a plot
MOST_COUNTED = 70  # largest number of classes whose confusion matrix includes numbers; above it there are only colours
MOST_CHARACTERS = 28  # largest length of a name in a plot


def draw_pictures(
    model: keras.Model, preprocessor: ImagePreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Figure | str]:
    """Draw all plots that the model supports, by file name."""
    true, label = examples[LABEL].to_numpy(str), decoded(answers["label"])
    classes, probabilities = decoded(answers["labels"][0]), answers["probabilities"]
    confidence = answers["probability"]
    kinds = examples[KIND if KIND in examples else LABEL]
    captions = [
        f"{_shown(kind)}: {_shown(said)} {sure:.2f}" for kind, said, sure in zip(kinds, label, confidence, strict=True)
    ]
    has_names = holds_files(examples.head(1)["image"])
    files = [f"{_shown(path.name)}\n" for path in examples["image"]] if has_names else [""] * len(true)
    mistakes = np.flatnonzero(true != label)
    worst = mistakes[np.argsort(-confidence[mistakes], kind="stable")][:SHOWN]
    right = np.flatnonzero(true == label)[: SHOWN // 2]
    wrong = worst[: SHOWN // 2]
    explained = [*wrong, *right]
    pictures = {
        "confusion_matrix": _confusion(true, label, classes),
        "roc_and_precision_recall": _curves(true, classes, probabilities),
        "calibration": _calibration(true, label, classes, probabilities, confidence),
        "confident_mistakes": _page(
            _pixels(preprocessor, examples, worst),
            [files[row] + captions[row] for row in worst],
            f"The most confident mistakes (mistakes: {len(mistakes):,}, test images: {len(true):,})\n"
            "true class: predicted class, probability",
        ),
        "grad_cam": grad_cam(
            model, _pixels(preprocessor, examples, explained), [captions[row] for row in explained], len(wrong)
        ),
        "first_layer": first_layer(model),
        "feature_maps": feature_maps(model, _pixels(preprocessor, examples, right[:1])),
    }
    return {name: figure for name, figure in pictures.items() if figure is not None}


def _pixels(preprocessor: ImagePreprocessor, examples: pd.DataFrame, rows: Collection[int]) -> np.ndarray:
    if not len(rows):
        return np.zeros((0, 1, 1, 3), "uint8")
    (raw,) = raw_batches(examples.iloc[list(rows)][["image"]])
    return preprocessor.inputs(raw)["image"].numpy()


def _confusion(true: np.ndarray, label: np.ndarray, classes: np.ndarray) -> Figure:
    side = min(max(4.5, 0.4 * len(classes) + 2), MOST_INCHES)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    known = [*classes, *sorted(set(true) - set(classes))]  # a split may contain classes that train lacks
    matrix = metrics.confusion_matrix(true, label, labels=known)
    display = metrics.ConfusionMatrixDisplay(matrix, display_labels=list(map(_shown, known)))
    few = len(known) <= MOST_COUNTED
    display.plot(ax=figure.subplots(), cmap="Blues", xticks_rotation="vertical", values_format="d", include_values=few)
    display.ax_.set(title=f"Test images: {len(true):,}", xlabel="predicted class", ylabel="true class")
    return figure


def _curves(true: np.ndarray, classes: np.ndarray, probabilities: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 5), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)
    shown = [0] if positive_of(list(classes)) is not None else range(min(len(classes), MOST_CURVES))
    for column in shown:
        is_class, name = true == classes[column], _shown(classes[column])
        if 0 < is_class.sum() < len(true):
            metrics.RocCurveDisplay.from_predictions(is_class, probabilities[:, column], name=name, ax=roc)
            metrics.PrecisionRecallDisplay.from_predictions(
                is_class, probabilities[:, column], name=name, ax=precision_recall
            )
    roc.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    roc.set(title="Receiver operating characteristic", xlabel="false positive rate", ylabel="true positive rate")
    precision_recall.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    return _with_grid(figure)


def _calibration(
    true: np.ndarray, label: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, confidence: np.ndarray
) -> Figure:
    """Draw how often predictions are correct against their probability."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    positive = positive_of(list(classes))
    if positive is not None:
        happened, forecast, name = true == positive, probabilities[:, 0], _shown(positive)
    else:
        happened, forecast, name = true == label, confidence, "the predicted class"
    forecast = np.clip(forecast, 0, 1)
    CalibrationDisplay.from_predictions(happened, forecast, n_bins=10, ax=axes, name=name, pos_label=True)
    histogram = axes.twinx()
    histogram.hist(forecast, bins=10, range=(0, 1), alpha=0.15, color="grey")
    histogram.set_ylabel("number of images (bars)")
    axes.set(title="Calibration", xlabel=f"predicted probability of {name}", ylabel="observed frequency")
    axes.grid(alpha=0.3)
    return figure


def _page(images: np.ndarray, captions: Sequence[str], title: str) -> Figure | None:
    if not len(images):
        return None
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.6 * columns + 1, 2.8 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True), 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(image)
        axes.set_title(caption, fontsize=9)
        axes.axis("off")
    return figure


def _shown(name: str) -> str:
    """Shorten a name from the data. Escape dollar signs, which start a formula in Matplotlib."""
    text = str(name) if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS // 2]}...{name[-8:]}"
    return text.replace("$", r"\$")


def _with_grid(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    return figure
