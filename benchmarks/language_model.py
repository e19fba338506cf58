"""Measure language models on tiny Shakespeare: counts, the ladder at equal size and text, and recipes that go lower.

    python benchmarks/language_model.py --root FOLDER_OF_input.txt

Each result is one line of `benchmarks/results/tiny_shakespeare.jsonl`; lines that are there are not measured again.
The loss is the mean over the whole validation text, which is nanoGPT's: the last 10 % of the characters.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from measured import CONFIGS, RESULTS, add_line, cut_shakespeare, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

CONFIG = CONFIGS / "benchmarks" / "tiny_shakespeare.yaml"
CURVE = "validation.loss"
ORDERS = range(2, 8)
REFERENCE = {2: 2.484, 3: 2.038, 4: 1.719, 5: 1.561, 6: 1.523, 7: 1.5165}  # counted by other code on the same split
LADDER = ("bag_of_words", "neural", "rnn", "gru", "lstm", "transformer")
WHY = {
    "bag_of_words": "the letters so far without their order: what is frequent in this speech, not what comes next",
    "neural": "sixteen letters in order, each place with weights of its own",
    "rnn": "any number of letters, through a state that each step overwrites",
    "gru": "gates let the state keep what still matters, which in so few steps is worth nothing yet",
    "lstm": "a memory that gates guard; slow to begin at this learning rate: see below",
    "transformer": "looks any letter up, but has to learn from the start what near means",
    "ngram": "the longest contexts that training had, looked up; no other rung has seen each letter of it so exactly",
}
RECIPES = {  # what each changes in the config
    "quick: mixed with counts, rotary positions, twice the context": (
        *("models.transformer.counts=7", "models.transformer.positions=rotary", "preprocessing.context=128"),
        *("batches.size=8", "training.epochs=2", "optimizer.learning_rate=2.0e-3"),
        *("schedule.warmup_epochs=0.2", "schedule.final_share=0.02"),
    ),
    "quick: the network alone, rotary positions, twice the context, averaged weights": (
        *("models.transformer.positions=rotary", "preprocessing.context=128", "batches.size=6"),
        *("batches.steps=500", "training.epochs=4", "schedule.warmup_epochs=0.2", "schedule.final_share=0.02"),
        *("optimizer.learning_rate=4.0e-3", "optimizer.average_decay=0.98"),
    ),
    "one LSTM, at three times the ladder's learning rate": ("model=lstm", "optimizer.learning_rate=3.0e-3"),
    "long: mixed with counts, dropout": (
        *("models.transformer.counts=7", "models.transformer.positions=rotary", "preprocessing.context=128"),
        *("models.transformer.dropout=0.1", "batches.size=16", "batches.steps=500", "training.epochs=8"),
        *("optimizer.learning_rate=2.0e-3", "schedule.warmup_epochs=0.4", "schedule.final_share=0.02"),
    ),
}


@click.command()
@click.option("--root", required=True, help="Folder of input.txt.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
def main(root: str, only: str) -> None:
    """Measure every row that is not measured yet, then write the tables."""
    path = RESULTS / "tiny_shakespeare.jsonl"
    done = read_lines(path)
    with tempfile.TemporaryDirectory() as temporary:
        cut_shakespeare(Path(root), Path(temporary))
        settings = [f"data.root={temporary}", f"preprocessing.token_folder={temporary}/tokens"]
        rows = {f"{order}-gram": lambda order=order: count(settings, order) for order in ORDERS}
        rows |= {name: lambda name=name: train_once(CONFIG, [*settings, f"model={name}"], CURVE) for name in LADDER}
        rows |= {name: lambda own=own: train_once(CONFIG, [*settings, *own], CURVE) for name, own in RECIPES.items()}
        for name, measure in rows.items():
            if only in name and not any(line["name"] == name for line in done):
                line = {"name": name, **measure()}
                click.echo(line)
                done.append(line)
                add_line(path, line)
    (RESULTS / "tiny_shakespeare.md").write_text(table({line["name"]: line for line in done}))


def count(settings: list[str], order: int) -> dict:
    """Count the training text, and score the validation text in one piece."""
    from pipelines.config.load import load_config
    from pipelines.tasks import load_task
    from pipelines.tasks.language_model.kneser_ney import count_ngrams, label_probabilities
    from pipelines.trained_model import load_run_dataset

    config = load_config(CONFIG, settings)
    dataset = load_run_dataset(config)
    preprocessor = load_task(config.task).preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    train, validation = (np.array(preprocessor.ids(dataset[split])) for split in ("train", "validation"))
    began = time.perf_counter()
    levels = count_ngrams(train, order, preprocessor.tokenizer.size)
    seconds = time.perf_counter() - began
    nats = -np.log(label_probabilities(levels, validation[1:])[1:])  # without what marks the text's start
    return {
        "validation": {"loss": nats.mean(), "bits_per_character": nats.mean() / np.log(2)},
        "parameters": sum(len(level.keys) for level in levels),
        "training_seconds": round(seconds, 2),
        "data": dataset.record["fingerprint"],
    }


def table(lines: dict[str, dict]) -> str:
    """Write the tables."""
    rows = [
        "# Tiny Shakespeare: the next character",
        "",
        "Validation loss in nats a character; the first 90 % of the characters train.",
        "",
        "## Counts: interpolated modified Kneser-Ney",
        "",
        "| order | loss | counted by other code | n-grams | seconds of counting |",
        "|---|---|---|---|---|",
    ]
    for order in ORDERS:
        if line := lines.get(f"{order}-gram"):
            cells = (f"{line['validation']['loss']:.4f}", f"{REFERENCE[order]}", f"{line['parameters']:,}")
            rows.append(f"| {order} | {' | '.join(cells)} | {line['training_seconds']:.1f} |")
    rows += [
        *("", "## The ladder", ""),
        "Each network has about as many parameters as the Transformer and reads 1.5 million characters, by the same"
        " optimiser and schedule; the counts have read the training text once, 1.0 million.",
        "",
        "| rung | loss | parameters | seconds of training | what it sees |",
        "|---|---|---|---|---|",
        *(_rung(lines[name], name) for name in LADDER if name in lines),
        *([_rung(lines["7-gram"], "ngram")] if "7-gram" in lines else []),
        *("", "## Lower", ""),
        "A quick recipe aims at no longer than the plain PyTorch run of `language_model_speed.md` takes. Parameters are"
        " the network's; what is mixed with counts looks up the n-grams of order 7 as well.",
        "",
        "| recipe | loss | bits a character | parameters | seconds of training |",
        "|---|---|---|---|---|",
        *(_recipe(lines[name], name) for name in RECIPES if name in lines),
        "",
        *(f"- {name}: `--set {' --set '.join(own)}`" for name, own in RECIPES.items()),
    ]
    notes = ("Config: `configs/benchmarks/tiny_shakespeare.yaml`; one seed", f"Split: {_fingerprint(lines)}")
    return "\n".join(
        [*rows, *how("python benchmarks/language_model.py --root FOLDER", ("tensorflow", "keras"), *notes)]
    )


def _rung(line: dict, name: str) -> str:
    cells = (f"{line['validation']['loss']:.3f}", f"{line['parameters']:,}", f"{line['training_seconds']:.0f}")
    return f"| {name} | {' | '.join(cells)} | {WHY[name]} |"


def _recipe(line: dict, name: str) -> str:
    scores = line["validation"]
    cells = (f"{scores['loss']:.4f}", f"{scores['bits_per_character']:.3f}", f"{line['parameters']:,}")
    return f"| {name} | {' | '.join(cells)} | {line['training_seconds']:.0f} |"


def _fingerprint(lines: dict[str, dict]) -> str:
    return f"the validation text's fingerprint is `{next(iter(lines.values()))['data']['validation']}`"


if __name__ == "__main__":
    main()
