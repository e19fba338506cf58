"""Measure the image ladder: on the drawn pictures, on the course's cats, and on CIFAR-10.

    python benchmarks/cat_classifier.py drawn
    python benchmarks/cat_classifier.py catvnoncat --root FOLDER_OF_THE_H5_FILES --preset FOLDER_OF_THE_PRESET
    python benchmarks/cat_classifier.py cifar10 --root FOLDER_WITH_train_AND_test

`benchmarks/efficientnet_lite0_preset.py` writes the folder of the preset; without it, the row `pretrained` is left out.
Each result is one line of `benchmarks/results/<data>.jsonl`; lines that are there are not measured again. Every choice
is made by validation; the test split is scored once, at the end.
"""

import click
import pandas as pd
from matplotlib.figure import Figure
from measured import CONFIGS, RESULTS, add_line, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

LADDER = {  # rung -> overrides: what sees the pixels themselves learns with smaller steps
    "logistic_regression": ("model=logistic_regression", "optimizer.learning_rate=0.001"),
    "mlp": ("model=mlp", "optimizer.learning_rate=0.001"),
    "cnn": ("model=cnn",),
    "resnet": ("model=resnet",),
    "inception": ("model=inception",),
}
NO_AUGMENTATION = "{flip: false, crop: 0.0, zoom: 0.0, rotate: 0.0, colour: 0.0, cutout: 0.0, mixup: 0.0}"
FROZEN = ("model=pretrained", "preprocessing.image_size=224", f"preprocessing.augmentation={NO_AUGMENTATION}")
ROWS = {  # data -> config, seeds, row of the table -> overrides of the config
    "drawn": ("cat_classifier.yaml", 3, LADDER),
    "catvnoncat": (
        "benchmarks/catvnoncat.yaml",
        5,
        {
            **LADDER,
            "mlp": (*LADDER["mlp"], "preprocessing.image_size=32"),
            "pretrained": FROZEN,
        },  # by cross-validation of train: 0.73, not 0.69
    ),
    "cifar10": (
        "benchmarks/cifar10.yaml",
        1,
        {
            "ten classes": (),
            "cat against the nine others": (
                "data.positive=[cat]",
                "preprocessing.class_weights=balanced",
                "training.monitor=validation.auc",
                "training.epochs=8",
            ),
        },
    ),
}
TITLES = {
    "drawn": "The drawn pictures (drawings made by the project, no photographs): cat or not",
    "catvnoncat": "cat / non-cat, 209 training and 50 test images of 64 pixels",
    "cifar10": "CIFAR-10 (JPEG copy), ResNet-20",
}
PEER = (
    "Peer: logistic regression of scikit-learn on EfficientNet-Lite0's features by PyTorch 2.13.0"
    " (`python benchmarks/peers/linear_probe.py STATE_FILE FOLDER`), penalty by validation: 0.980 for each of five"
    " seeds, in 32 to 40 seconds with the features"
)
NOTES = {
    "catvnoncat": (
        "Aimed at: logistic regression 0.70, MLP 0.80, the best of the others 0.90; only the MLP reaches its own;"
        " pretrained 0.96 in a minute on two cores",
        "pretrained: EfficientNet-Lite0 of ImageNet, frozen, without augmentation, 224 pixels; its features differ from"
        " PyTorch's by 1e-5 at most (`python benchmarks/efficientnet_lite0_preset.py STATE_FILE FOLDER`). The size was"
        " chosen by five-fold cross-validation of logistic regression on the features of the 209 training images:"
        " 224 and 192 pixels 0.990, 160 0.986, 128 0.988, 96 0.974",
        PEER,
        "Tried by five-fold cross-validation of the 209 training images, accuracy: ResNet as here 0.86; with mixup and"
        " label smoothing 0.85; with cutout and more colour, zoom and rotation 0.84; with smaller steps for 150 epochs"
        " 0.83; wider with more dropout 0.84; Inception 0.84; CNN 0.80; MLP at 64 pixels 0.69, at 32 0.73, at 16"
        " 0.69, two layers 0.66; logistic regression 0.63, without augmentation 0.57, more l2 0.65, 32 pixels 0.61",
    )
}
COLUMNS = ("accuracy", "balanced_accuracy", "auc")


@click.command()
@click.argument("data", type=click.Choice(list(ROWS)))
@click.option("--root", help="Folder of the data's files, where it has any.")
@click.option("--preset", help="Folder of the published backbone of the row `pretrained`.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
def main(data: str, root: str | None, preset: str | None, only: str) -> None:
    """Measure every row that is not measured yet, then write the table."""
    config, seeds, rows = ROWS[data]
    path = RESULTS / f"{data}.jsonl"
    done = read_lines(path)
    for seed in range(seeds):
        for name, overrides in rows.items():
            if name == "pretrained":
                if preset is None:
                    continue
                overrides = (*overrides, f"models.pretrained.preset={preset}")
            if only in name and not any(line["name"] == name and line["seed"] == seed for line in done):
                given = [f"seed={seed}", f"split.seed={seed}", *([f"data.root={root}"] if root else []), *overrides]
                curve = "validation.balanced_accuracy" if data == "cifar10" else None
                line = {"name": name, "seed": seed, **train_once(CONFIGS / config, given, curve)}
                click.echo(line)
                done.append(line)
                add_line(path, line)
    if data == "cifar10":
        draw_curves(done).savefig(RESULTS / "cifar10.png", dpi=100)
    done.sort(key=lambda line: (line["seed"], list(rows).index(line["name"])))
    (RESULTS / f"{data}.md").write_text(table(data, done, root))


def draw_curves(lines: list[dict]) -> Figure:
    """Draw balanced accuracy on validation over the minutes of training."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        minutes, accuracy = zip(*[(seconds / 60, value) for seconds, value in line["curve"]], strict=True)
        axes.plot(minutes, accuracy, label=f"{line['name']} (test {line['test']['balanced_accuracy']:.3f})")
    axes.set(title="CIFAR-10, ResNet-20", xlabel="minutes of training", ylabel="balanced accuracy on validation")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def table(data: str, lines: list[dict], root: str | None) -> str:
    """Write the table of a data set."""
    config, seeds, _ = ROWS[data]
    rows = [
        f"# {TITLES[data]}: test split, mean of seeds 0 to {seeds - 1}" if seeds > 1 else f"# {TITLES[data]}: seed 0"
    ]
    heads = ["row", *COLUMNS, "accuracy by seed", "parameters", "epochs", "seconds of training"]
    rows += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    frame = pd.DataFrame(lines)
    for name, group in frame.groupby("name", sort=False):
        scores = pd.DataFrame(list(group.sort_values("seed")["test"]))
        by_seed = " ".join(f"{value:.3f}" for value in scores["accuracy"])
        means = [f"{scores[column].mean():.3f}" for column in COLUMNS]
        last = group.iloc[-1]
        seconds = group["training_seconds"].median()
        cells = [name, *means, by_seed, f"{last['parameters']:,}", str(last["epochs"]), f"{seconds:.0f}"]
        rows.append(f"| {' | '.join(cells)} |")
    options = " --root FOLDER" * (root is not None) + " --preset FOLDER" * (
        "pretrained" in {line["name"] for line in lines}
    )
    command = f"python benchmarks/cat_classifier.py {data}{options}"
    fingerprint = lines[0]["data"]["test"]
    more = (
        f"Config: `configs/{config}`",
        f"Fingerprint of the test split of seed 0: `{fingerprint}`",
        *NOTES.get(data, ()),
    )
    return "\n".join([*rows, *how(command, ("tensorflow", "keras", "scikit-learn", "numpy", "pillow"), *more)])


if __name__ == "__main__":
    main()
