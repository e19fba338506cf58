"""Time the Transformer of Multi30k: training beside plain PyTorch, beam search beside CTranslate2 and plain PyTorch.

    python -m pip install -r benchmarks/requirements.txt
    pipelines train configs/benchmarks/multi30k.yaml --set data.root=FOLDER --run-dir RUN
    python benchmarks/translation_speed.py RUN

Training: the same mini-batches of token ids, padded, in the same order, with dropout, label smoothing and Adam;
ours are made and their tokens split while it trains, PyTorch finds them made, and runs its own `nn.Transformer`
eagerly. Beam search: the run's weights, in float32, translate test 2016 with as many beams as the config says;
ours from text to text, the others from token ids to token ids: CTranslate2 on two threads, PyTorch by reading the
whole beginning again at each token. Every run is a process of its own; runs alternate, and the table gives the
ratio to ours within each round.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from measured import CONFIGS, RESULTS, how

ROOT = CONFIGS.parent
PAD = 0
CHUNK = 64  # sentences that the peers search at once, the longest first


@click.command()
@click.argument("run")
@click.option("--rounds", default=3, show_default=True, help="Alternating runs of each.")
@click.option("--steps", default=40, show_default=True, help="Training steps that are timed, after as many others.")
@click.option("--sentences", default=0, help="Translate only so many; 0: all of test.")
@click.option("--child", default="", hidden=True)
@click.option("--folder", default="", hidden=True)
def main(run: str, rounds: int, steps: int, sentences: int, child: str, folder: str) -> None:
    """Write down what all need, run the rounds, and write the table."""
    if child:
        result = MEASURES[child](Path(folder), run, steps, sentences)
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        click.echo(json.dumps({**result, "megabytes": megabytes}))
        return
    results: dict[str, list[dict]] = {name: [] for name in MEASURES if name != "prepare"}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ["prepare", *(name for _ in range(rounds) for name in results)]:
            options = ["--steps", str(steps), "--sentences", str(sentences), "--folder", temporary, "--child", name]
            done = subprocess.run(
                [sys.executable, __file__, run, *options], cwd=ROOT, capture_output=True, text=True, env=os.environ
            )
            if done.returncode:
                sys.exit(done.stderr)
            if name in results:
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
                click.echo(f"{name}: { {key: value for key, value in results[name][-1].items() if key != 'texts'} }")
    (RESULTS / "translation_speed.md").write_text(table(results, rounds, steps))


def _trained(run: str):
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    from pipelines.runs.run import Run
    from pipelines.trained_model import load_run_dataset, load_trained_model

    trained = load_trained_model(Run.open(run))
    return trained, load_run_dataset(trained.config)


def prepare(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Write mini-batches, the weights under the names of PyTorch's `nn.Transformer`, and test as token ids."""
    trained, dataset = _trained(run)
    config, preprocessor = trained.config, trained.preprocessor
    batches = trained.task.batches(dataset.train, preprocessor, config.seed, **config.batches)
    for number, (inputs, labels, _) in enumerate(batches.stream(0).take(2 * steps)):
        np.savez(folder / f"batch{number}.npz", **{k: v.numpy() for k, v in inputs.items()}, labels=labels.numpy())
    np.savez(folder / "weights.npz", **torch_weights(trained.model))
    test = dataset.test.head(sentences or None)
    ids = preprocessor.encode("source", test["source"].to_numpy(object)).to_list()
    about = {
        "ids": ids,
        "settings": dict(config.models["transformer"]),
        "smoothing": config.loss["label_smoothing"],
        "most": config.decoding,
        "longest": config.preprocessing["longest"],
    }
    (folder / "about.json").write_text(json.dumps(about))
    return {}


def torch_weights(model) -> dict[str, np.ndarray]:
    """Name our weights as `nn.Transformer` does."""
    weights = {"embedding": model.embedding.embeddings.numpy()}

    def norm(name: str, layer) -> None:
        weights.update({f"{name}.weight": layer.gamma.numpy(), f"{name}.bias": layer.beta.numpy()})

    def dense(name: str, *layers) -> None:
        kernels = np.concatenate([layer.kernel.numpy().T for layer in layers])
        weights.update({f"{name}weight": kernels, f"{name}bias": np.concatenate([x.bias.numpy() for x in layers])})

    def block(name: str, own) -> None:
        dense(f"{name}.self_attn.in_proj_", own.attention.project_in)
        dense(f"{name}.self_attn.out_proj.", own.attention.project_out)
        if hasattr(own, "cross"):
            dense(f"{name}.multihead_attn.in_proj_", own.cross.project_in, own.cross.project_source)
            dense(f"{name}.multihead_attn.out_proj.", own.cross.project_out)
        dense(f"{name}.linear1.", own.up)
        dense(f"{name}.linear2.", own.down)
        for at, each in enumerate(own.norms, 1):
            norm(f"{name}.norm{at}", each)

    sources = [layer for layer in model.encoder.layers if hasattr(layer, "attention")]
    for side, blocks in (("encoder", sources), ("decoder", model.blocks)):
        for at, own in enumerate(blocks):
            block(f"{side}.layers.{at}", own)
    norm("encoder.norm", next(x for x in model.encoder.layers if type(x).__name__ == "LayerNormalization"))
    norm("decoder.norm", model.last)
    return weights


def _read(folder: Path) -> tuple[dict, dict]:
    with np.load(folder / "weights.npz") as weights:
        return json.loads((folder / "about.json").read_text()), dict(weights)


def _batches(folder: Path, count: int) -> list[dict[str, np.ndarray]]:
    return [dict(np.load(folder / f"batch{number}.npz")) for number in range(count)]


def train_ours(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Train by Keras's `fit`, executed as the line does."""
    trained, dataset = _trained(run)
    import keras

    from pipelines.build import build
    from pipelines.trained_model import build_model
    from pipelines.training.execution import resolve_execution

    config, task, preprocessor = trained.config, trained.task, trained.preprocessor
    batches = task.batches(dataset.train, preprocessor, config.seed, **config.batches)
    model = build_model(config, task, preprocessor)
    execution = resolve_execution(config.training["execution"], model, steps, batches.varying)
    loss = build(config.loss, task.losses, "name")
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0), loss, auto_scale_loss=False, **execution)
    times = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: times.append(time.perf_counter()),
        on_epoch_end=lambda *_: times.append(time.perf_counter()),
    )
    history = model.fit(batches.stream(0), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock])
    tokens = sum(int((batch["labels"] != PAD).sum()) for batch in _batches(folder, 2 * steps)[steps:])
    return {"speed": tokens / (times[-1] - times[-2]), "loss": history.history["loss"][-1]}


def train_pytorch(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Train PyTorch's own Transformer, eagerly."""
    import torch
    from peers.translation import make_pytorch

    torch.manual_seed(0)
    about, weights = _read(folder)
    model = make_pytorch(about["settings"], weights["embedding"].shape[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = [{k: torch.from_numpy(v).long() for k, v in batch.items()} for batch in _batches(folder, 2 * steps)]
    losses = []
    for number, batch in enumerate(batches):
        if number == steps:
            began = time.perf_counter()
        scores = model(batch["source"], batch["target"])
        loss = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), batch["labels"].flatten(), ignore_index=PAD, label_smoothing=about["smoothing"]
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    seconds = time.perf_counter() - began
    tokens = sum(int((batch["labels"] != PAD).sum()) for batch in batches[steps:])
    return {"speed": tokens / seconds, "loss": statistics.mean(losses[steps:])}


def decode_ours(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Translate texts by the answers that an export gives."""
    trained, dataset = _trained(run)
    from pipelines.evaluation import Answerer

    test = dataset.test.head(sentences or None)
    answerer = Answerer(trained.endpoints["serve"])
    answerer.answer_table(test.head(8))
    began = time.perf_counter()
    answers = answerer.answer_table(test)
    seconds = time.perf_counter() - began
    texts = [text.decode() for text in answers["translation"]]
    return {"speed": len(test) / seconds, "bleu": _bleu(texts, test["target"].tolist())}


def decode_ctranslate2(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Translate token ids by CTranslate2, the weights converted."""
    import ctranslate2
    from peers.translation import convert

    about, weights = _read(folder)
    convert(about["settings"], weights, folder / "converted")
    translator = ctranslate2.Translator(
        str(folder / "converted"), device="cpu", compute_type="float32", inter_threads=1, intra_threads=2
    )
    sources = [[str(token) for token in row] for row in about["ids"]]
    wanted = {"beam_size": about["most"]["beams"], "length_penalty": 1.0, "max_decoding_length": about["longest"]}
    translator.translate_batch(sources[:8], max_batch_size=CHUNK, **wanted)
    began = time.perf_counter()
    results = translator.translate_batch(sources, max_batch_size=CHUNK, **wanted)
    seconds = time.perf_counter() - began
    return _scored(run, sentences, seconds, [[int(token) for token in result.hypotheses[0]] for result in results])


def decode_pytorch(folder: Path, run: str, steps: int, sentences: int) -> dict:
    """Search plainly: at each token the whole beginning of every beam is read again."""
    import torch
    from peers.translation import make_pytorch, plain_search

    about, weights = _read(folder)
    model = make_pytorch(about["settings"], weights["embedding"].shape[0]).eval()
    state = {f"layers.{name}": torch.from_numpy(value) for name, value in weights.items() if name != "embedding"}
    model.load_state_dict({**model.state_dict(), **state, "embedding.weight": torch.from_numpy(weights["embedding"])})
    order = sorted(range(len(about["ids"])), key=lambda at: -len(about["ids"][at]))
    found: list[list[int]] = [[] for _ in order]
    began = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(order), CHUNK):
            rows = order[first : first + CHUNK]
            for at, tokens in zip(rows, plain_search(model, [about["ids"][at] for at in rows], about), strict=True):
                found[at] = tokens
    return _scored(run, sentences, time.perf_counter() - began, found)


def _scored(run: str, sentences: int, seconds: float, ids: list[list[int]]) -> dict:
    """Turn ids into texts, outside of what is timed, and score them."""
    trained, dataset = _trained(run)
    import tensorflow as tf

    test = dataset.test.head(sentences or None)
    rows = tf.ragged.constant(ids, dtype=tf.int32).to_tensor()
    texts = [text.decode() for text in trained.preprocessor.decode(rows).numpy()]
    return {"speed": len(ids) / seconds, "bleu": _bleu(texts, test["target"].tolist())}


def _bleu(texts: list[str], right: list[str]) -> float:
    from sacrebleu.metrics import BLEU

    return BLEU().corpus_score(texts, [right]).score


MEASURES = {
    "prepare": prepare,
    "training, ours": train_ours,
    "training, PyTorch eager": train_pytorch,
    "beam search, ours": decode_ours,
    "beam search, CTranslate2": decode_ctranslate2,
    "beam search, PyTorch without caches": decode_pytorch,
}


def table(results: dict[str, list[dict]], rounds: int, steps: int) -> str:
    """Write speeds, and ours in proportion to each within a round."""
    rows = []
    for name, runs in results.items():
        ours = results[f"{name.partition(',')[0]}, ours"]
        ratios = [own["speed"] / peer["speed"] for own, peer in zip(ours, runs, strict=True)]
        came = [run.get("bleu", run.get("loss")) for run in runs]
        rows.append(
            f"| {name} | {statistics.median(run['speed'] for run in runs):,.0f} | {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f}) | {statistics.median(came):.2f} |"
            f" {max(run['megabytes'] for run in runs):,.0f} |"
        )
    return "\n".join(
        [
            "# The Transformer of Multi30k: training and beam search",
            "",
            f"{rounds} alternating rounds, a process a run. Training: target tokens a second over {steps} steps, after"
            " as many others; loss at their end. Beam search: sentences of test 2016 a second, and sacrebleu's cased"
            " BLEU of what came of it (CTranslate2 divides by the length itself, the others by Wu et al.'s penalty).",
            "",
            "| what | median speed | ours in proportion (min to max) | loss or BLEU | peak memory, MB |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "The three ratios measured before, of a run on whole tokens and on a busier machine: 1.39 (1.27 to 1.39)"
            " beside PyTorch's training, 0.62 (0.34 to 0.67) beside CTranslate2, 6.15 (3.38 to 6.73) beside PyTorch's"
            " search.",
            *how(
                "python benchmarks/translation_speed.py RUN",
                ("tensorflow", "keras", "torch", "ctranslate2", "sacrebleu"),
            ),
        ]
    )


if __name__ == "__main__":
    main()
