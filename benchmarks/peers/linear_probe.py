"""Logistic regression of scikit-learn on features of EfficientNet-Lite0 in PyTorch, for the course's cats.

    python benchmarks/peers/linear_probe.py STATE_FILE FOLDER_OF_THE_H5_FILES

The images, their size and the sizes of the splits are those of the row `pretrained` in
`benchmarks/results/catvnoncat.md`. The penalty is chosen by the validation split's log loss.
"""

import time
from pathlib import Path

import click
import h5py
import numpy as np
import torch
from efficientnet_lite0 import EfficientNetLite0, load
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

SIDE, SEEDS, AT_ONCE, VALIDATION = 224, 5, 32, 21
PENALTIES = [0.001, 0.01, 0.1, 1.0, 10.0]


def features(network: EfficientNetLite0, images: np.ndarray) -> np.ndarray:
    """Resize images (N, 64, 64, 3), scale them, and return their features (N, 1280)."""
    resized = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    pixels = torch.from_numpy((np.stack(resized).astype("float32") - 127) / 128).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return torch.cat([network.features(part) for part in pixels.split(AT_ONCE)]).numpy()


@click.command()
@click.argument("state_file", type=click.Path(exists=True, path_type=Path))
@click.argument("root", type=click.Path(exists=True, path_type=Path))
def main(state_file: Path, root: Path) -> None:
    """Print test accuracy and seconds of each seed."""
    torch.set_num_threads(2)
    network = load(state_file)
    with h5py.File(root / "train_catvnoncat.h5") as train, h5py.File(root / "test_catvnoncat.h5") as test:
        images, labels = train["train_set_x"][:], train["train_set_y"][:].ravel()
        test_images, test_labels = test["test_set_x"][:], test["test_set_y"][:].ravel()
    accuracies = []
    for seed in range(SEEDS):
        began = time.perf_counter()
        own, tested = features(network, images), features(network, test_images)
        order = np.random.default_rng(seed).permutation(len(labels))
        held, learnt = order[:VALIDATION], order[VALIDATION:]
        models = [LogisticRegression(C=c, class_weight="balanced", max_iter=2000) for c in PENALTIES]
        best = min(
            (model.fit(own[learnt], labels[learnt]) for model in models),
            key=lambda model: log_loss(labels[held], model.predict_proba(own[held]), labels=[0, 1]),
        )
        accuracies.append(best.score(tested, test_labels))
        seconds = time.perf_counter() - began
        click.echo(f"seed {seed}: C {best.C}, test accuracy {accuracies[-1]:.3f}, {seconds:.1f} s with the features")
    click.echo(f"mean test accuracy {np.mean(accuracies):.3f}")


if __name__ == "__main__":
    main()
