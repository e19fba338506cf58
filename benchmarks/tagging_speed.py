"""Time training of the bidirectional LSTM with characters and CRF beside the same in plain PyTorch, and its tagging.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/tagging_speed.py --root FOLDER_THAT_HOLDS_BTC

Both read the Broad Twitter Corpus: words 100 wide, 30 character filters, 200 LSTM units in each direction, a linear-
chain CRF, mini-batches of 32 sentences, Adam, a dropout of one half; ours drops the same units at all tokens of a
sentence and hides some words, which takes no time. Every run is a process of its own and gives the sentences per
second of its median epoch's training steps, and the best entity F1 on validation over its epochs; runs alternate, and
the table gives the ratio within each round. PyTorch runs twice: on shuffled mini-batches, as is usual, and on ours,
in which sentences have about the same length.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import click
import numpy as np
from measured import CONFIGS, RESULTS, how

ROOT = CONFIGS.parent
EPOCHS, WARM, BATCH = 6, 1, 32
CONFIG = CONFIGS / "benchmarks" / "btc.yaml"
NETWORK = {
    **{"word_width": 100, "character_width": 30, "character_units": 30, "kernel_size": 3, "units": 200, "layers": 1},
    **{"casing_width": 0, "affix_width": 0, "dropout": 0.5, "word_dropout": 0.5, "variational": "true", "crf": "true"},
}
SETTINGS = [
    *(f"models.lstm.{name}={value}" for name, value in NETWORK.items()),
    *("batches.size=32", "preprocessing.min_count=1", "preprocessing.affixes=[]", "preprocessing.max_characters=20"),
    *("optimizer={name: adam, learning_rate: 0.001, weight_decay: 0.0, clip_norm: 5.0, average_decay: null}",),
    *("schedule={name: constant, warmup_epochs: 0}", f"training.epochs={EPOCHS}", "training.patience=null"),
]
SENTENCES, TOKENS, TAGGING_BATCH = 8192, 20, 256


@click.command()
@click.option("--root", required=True, help="Folder of the CoNLL files.")
@click.option("--rounds", default=5, show_default=True, help="Alternating runs of each.")
@click.option("--child", default="", hidden=True)
@click.option("--seed", default=0, hidden=True)
def main(root: str, rounds: int, child: str, seed: int) -> None:
    """Run the rounds, each with a seed of its own, and write the table."""
    if child:
        click.echo(json.dumps(MEASURES[child](root, seed)))
        return
    runs: dict[str, list[dict]] = {name: [] for name in MEASURES}
    for round_ in range(rounds):
        for name in MEASURES:
            command = [sys.executable, __file__, "--root", root, "--seed", str(round_), "--child", name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name}: {runs[name][-1]}")
    (RESULTS / "tagging_speed.md").write_text(table(runs, rounds))


def ours(root: str, seed: int) -> dict[str, float]:
    """Train by `train`, then tag by an export."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    import keras
    import tensorflow as tf

    from pipelines.commands.train import train
    from pipelines.export.write import write_export
    from pipelines.trained_model import load_run_dataset
    from pipelines.training import train as training

    class Clock(keras.callbacks.Callback):
        """Add up the time of each epoch's training steps."""

        def __init__(self, *_):
            super().__init__()
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seconds.append(0.0)

        def on_train_batch_begin(self, batch, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds[-1] += time.perf_counter() - self.began

    clock = Clock()
    training.Progress = lambda *_: clock
    with tempfile.TemporaryDirectory() as temporary:
        trained, run = train(CONFIG, [f"data.root={root}", f"seed={seed}", *SETTINGS], Path(temporary) / "run")
        dataset = load_run_dataset(trained.config)
        version = write_export(trained, run, Path(temporary) / "export", dataset.test)
        tag = tf.saved_model.load(str(version)).signatures["tokens"]
        flat = [token for tokens in dataset.test["tokens"] for token in tokens]
        rows = np.resize(np.array(flat, object), (SENTENCES, TOKENS))
        batches = [tf.constant(rows[at : at + TAGGING_BATCH]) for at in range(0, SENTENCES, TAGGING_BATCH)]
        tag(tokens=batches[0])
        began = time.perf_counter()
        for batch in batches:
            tag(tokens=batch)
        tagging = SENTENCES / (time.perf_counter() - began)
        return {
            "sentences_per_second": len(dataset.train) / statistics.median(clock.seconds[WARM:]),
            "f1": float(run.history()["validation.f1"].max()),
            "tagged_per_second": tagging,
        }


def pytorch(root: str, seed: int, by_length: bool) -> dict[str, float]:
    """Train the same network written plainly."""
    import torch
    from torch import nn

    from pipelines.metrics.entity_f1 import entity_scores
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    from pipelines.config.load import load_config
    from pipelines.data.batches import tensors
    from pipelines.tasks import load_task
    from pipelines.trained_model import load_run_dataset

    config = load_config(CONFIG, [f"data.root={root}", *SETTINGS])
    dataset = load_run_dataset(config)
    preprocessor = load_task(config.task).preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    features = preprocessor.features

    def encode(split: str) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        inputs, labels, _ = preprocessor.example(tensors(dataset[split]), training=True)
        rows = zip(inputs["words"].to_list(), inputs["characters"].to_list(), labels.to_list(), strict=True)
        pad = nn.utils.rnn.pad_sequence
        return [
            (torch.tensor(words), pad([torch.tensor(c) for c in characters], batch_first=True), torch.tensor(tags) - 1)
            for words, characters, tags in rows
        ]

    class Tagger(nn.Module):
        """Words and a CNN over characters, a bidirectional LSTM, and the parameters of a CRF."""

        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(features.words, 100, padding_idx=0)
            self.characters = nn.Embedding(features.characters, 30, padding_idx=0)
            self.convolve = nn.Conv1d(30, 30, 3, padding=1)
            self.lstm = nn.LSTM(130, 200, batch_first=True, bidirectional=True)
            self.tags = nn.Linear(400, features.tags)
            self.transitions = nn.Parameter(torch.zeros(features.tags, features.tags))
            self.start = nn.Parameter(torch.zeros(features.tags))
            self.dropout = nn.Dropout(0.5)

        def forward(self, words, characters, lengths):
            batch, length, width = characters.shape
            flat = characters.reshape(batch * length, width)
            x = self.convolve(self.dropout(self.characters(flat)).transpose(1, 2)).relu()
            x = (x * (flat != 0)[:, None]).amax(2).reshape(batch, length, 30)
            x = self.dropout(torch.cat([self.words(words), x], dim=2))
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            x, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
            return self.tags(self.dropout(x))

        def loss(self, scores, tags, real):
            alpha = self.start + scores[:, 0]
            gold = alpha.gather(1, tags[:, :1])[:, 0]
            for at in range(1, scores.shape[1]):
                now = torch.logsumexp(alpha[:, :, None] + self.transitions + scores[:, at, None], dim=1)
                alpha = torch.where(real[:, at, None], now, alpha)
                step = (
                    self.transitions[tags[:, at - 1], tags[:, at]] + scores[:, at].gather(1, tags[:, at : at + 1])[:, 0]
                )
                gold = gold + step * real[:, at]
            return (torch.logsumexp(alpha, dim=1) - gold).sum() / real.sum()

        def decode(self, scores):
            best, back = self.start + scores[0], []
            for row in scores[1:]:
                each = best[:, None] + self.transitions
                back.append(each.argmax(0))
                best = each.amax(0) + row
            path = [int(best.argmax())]
            for pointers in reversed(back):
                path.append(int(pointers[path[-1]]))
            return path[::-1]

    def collate(rows):
        lengths = torch.tensor([len(words) for words, _, _ in rows])
        words, tags = (nn.utils.rnn.pad_sequence([row[i] for row in rows], batch_first=True) for i in (0, 2))
        characters = torch.zeros(*words.shape, max(c.shape[1] for _, c, _ in rows), dtype=torch.long)
        for at, (_, each, _) in enumerate(rows):
            characters[at, : each.shape[0], : each.shape[1]] = each
        return words, characters, tags, torch.arange(words.shape[1])[None] < lengths[:, None], lengths

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    train, validation = encode("train"), encode("validation")
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    seconds, scores = [], []
    for _ in range(EPOCHS):
        order = random.permutation(len(train))
        if by_length:
            lengths = np.array([len(row[0]) for row in train])
            order = np.argsort(lengths * (1 + 0.25 * random.random(len(train))))
        parts = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
        random.shuffle(parts)
        model.train()
        began = time.perf_counter()
        for part in parts:
            words, characters, tags, real, lengths = collate([train[row] for row in part])
            loss = model.loss(model(words, characters, lengths), tags, real)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        seconds.append(time.perf_counter() - began)
        model.eval()
        with torch.no_grad():
            paths = []
            for at in range(0, len(validation), 256):
                words, characters, _, _, lengths = collate(validation[at : at + 256])
                each = model(words, characters, lengths)
                paths += [model.decode(each[row, :length]) for row, length in enumerate(lengths)]
        answered = [[preprocessor.tags[tag] for tag in path] for path in paths]
        scores.append(entity_scores(dataset.validation["tags"].tolist(), answered)["f1"])
    return {"sentences_per_second": len(train) / statistics.median(seconds[WARM:]), "f1": max(scores)}


MEASURES = {
    "PyTorch, shuffled mini-batches": partial(pytorch, by_length=False),
    "PyTorch, mini-batches by length": partial(pytorch, by_length=True),
    "ours": ours,
}


def table(runs: dict[str, list[dict]], rounds: int) -> str:
    """Write the table."""
    rows = [
        "| what | sentences a second, median | ratio to PyTorch (min to max) | best F1 on validation |",
        "|---|---|---|---|",
    ]
    peer = [run["sentences_per_second"] for run in runs["PyTorch, shuffled mini-batches"]]
    for name, each in runs.items():
        values = [run["sentences_per_second"] for run in each]
        ratios = [value / other for value, other in zip(values, peer, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        f1 = statistics.mean(run["f1"] for run in each)
        rows.append(f"| {name} | {statistics.median(values):,.0f} | {spread} | {f1:.3f} |")
    tagged = [run["tagged_per_second"] for run in runs["ours"]]
    text = (
        f"{rounds} alternating rounds, a process a run, {EPOCHS} epochs; above 1 is faster. Tagging by the export,"
        f" sentences of {TOKENS} tokens in batches of {TAGGING_BATCH}: {statistics.median(tagged):,.0f} a second"
        f" ({min(tagged):,.0f} to {max(tagged):,.0f})."
    )
    title = "# Sentences a second: a bidirectional LSTM with character CNN and CRF"
    command = "python benchmarks/tagging_speed.py --root FOLDER"
    return "\n".join([title, "", text, "", *rows, *how(command, ("tensorflow", "keras", "torch"))])


if __name__ == "__main__":
    main()
