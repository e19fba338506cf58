"""Measure the search: its overhead, two workers, its oracle beside Optuna's, and what kills cost it.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/tuning.py overhead     beside KerasTuner's own `search` on the same trials
    python benchmarks/tuning.py workers      trials a minute with two workers, beside one, in alternating runs
    python benchmarks/tuning.py optuna       the best objective after 30 trials, three seeds
    python benchmarks/tuning.py kills        twenty kills of the whole process tree at random moments

All search the configs that come with the tasks, on embedded data.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pandas as pd
import psutil
from measured import CONFIGS, RESULTS, add_line, how, read_lines

ROOT = CONFIGS.parent
RESULT = RESULTS / "tuning.jsonl"
HOUSES = ("house_prices.yaml", "model=mlp", "training.epochs=12", "training.patience=null")
TAGGER = ("entity_tagger.yaml", "data.count=1500", "training.epochs=6", "training.patience=null")
SHARED = "keep: 1, max_failures: 9"
RANDOM = "tuning={{name: random, max_trials: {}, objective: {}, " + SHARED + "}}"
BAYESIAN = "tuning={{name: bayesian, max_trials: {}, initial_trials: null, objective: {}, " + SHARED + "}}"
TRIALS, SEEDS, KILLS = 30, 3, 20


@click.command()
@click.argument("what", type=click.Choice(["overhead", "workers", "optuna", "kills", "table"]))
def main(what: str) -> None:
    """Measure one thing and write the table of all."""
    if what != "table":
        for line in {"overhead": overhead, "workers": workers, "optuna": optuna, "kills": kills}[what]():
            click.echo(line)
            add_line(RESULT, {"what": what, **line})
    (RESULTS / "tuning.md").write_text(table(read_lines(RESULT)))


def overhead(rounds: int = 3, trials: int = 10):
    """Search the same trials by `tune` and by KerasTuner, in turn; overhead is what epochs do not account for."""
    for round_ in range(rounds):
        with tempfile.TemporaryDirectory() as temporary:
            began = time.perf_counter()
            search(HOUSES, RANDOM.format(trials, "validation.rmsle"), Path(temporary) / "s", f"seed={round_}")
            total = time.perf_counter() - began
            histories = sorted(Path(temporary).glob("s/trials/*/history.csv"))
            fitting = sum(pd.read_csv(path)["seconds"].iloc[-1] for path in histories)
            code = f"import tuning_peer; tuning_peer.keras_tuner_search({trials}, {round_}, {temporary!r})"
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
            peer = json.loads(done.stdout.splitlines()[-1])
            ours = {"total": round(total, 2), "fitting": round(fitting, 2), "trials": trials}
            yield {"round": round_, "ours": ours, "keras_tuner": peer}


def workers(rounds: int = 3):
    """Search with one worker and with two, in turn."""
    searches = (("houses", HOUSES, "validation.rmsle", 10), ("tagger", TAGGER, "validation.f1", 12))
    for name, config, objective, trials in searches:
        for round_ in range(rounds):
            line = {"data": name, "round": round_, "trials": trials}
            for count in ("one", "two"):
                with tempfile.TemporaryDirectory() as temporary:
                    began = time.perf_counter()
                    psutil.cpu_percent()
                    rule, workers_ = RANDOM.format(trials, objective), str(1 + (count == "two"))
                    search(config, rule, Path(temporary) / "s", f"seed={round_}", "--workers", workers_)
                    line[count] = round(time.perf_counter() - began, 1)
                    line[f"{count}_cores_busy"] = round(psutil.cpu_percent() / 100 * psutil.cpu_count(), 2)
            yield line


def optuna():
    """Search the same space with the same number of trials by our Bayesian oracle and by Optuna's TPE."""
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    import tuning_peer

    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "s"
            search(HOUSES, BAYESIAN.format(TRIALS, "validation.rmsle"), folder, f"seed={seed}")
            ours = pd.read_csv(folder / "trials.csv")["validation.rmsle"].min()
        theirs = tuning_peer.optuna_search(CONFIGS / HOUSES[0], [*HOUSES[1:], f"seed={seed}"], TRIALS, seed)
        yield {"seed": seed, "ours": float(ours), "optuna": theirs}


def kills():
    """Kill a search's whole process tree at random moments, resume it each time, and compare with one left alone."""
    moments = random.Random(0)
    rule = RANDOM.format(TRIALS, "validation.rmsle")
    with tempfile.TemporaryDirectory() as temporary:
        whole, folder = Path(temporary) / "whole", Path(temporary) / "killed"
        search(HOUSES, rule, whole, "seed=0")
        killed, ended, lost = 0, set(), 0
        while killed < KILLS:
            more = ["--resume"] if (folder / "config.yaml").exists() else []
            process = subprocess.Popen(
                command(HOUSES, rule, folder, "seed=0", *more), cwd=ROOT, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                process.wait(moments.uniform(1, 20))
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            now = finished(folder)
            lost, ended = lost + len(ended - now), now
        search(HOUSES, rule, folder, "seed=0", "--resume")
        first, again = (pd.read_csv(each / "trials.csv")["validation.rmsle"].tolist() for each in (whole, folder))
        yield {"kills": killed, "lost": lost, "same_scores": first == again, "trials": len(first)}


def finished(folder: Path) -> set[int]:
    """Read which trials a search's journal says have ended."""
    path = folder / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return {line["number"] for line in map(json.loads, lines) if line["event"] == "ended"}


def command(config: tuple[str, ...], rule: str, folder: Path, seed: str, *more: str) -> list[str]:
    """Give the command of a search."""
    sets = [part for setting in (*config[1:], rule, seed) for part in ("--set", setting)]
    path = str(CONFIGS / config[0])
    return [sys.executable, "cli.py", "tune", path, *sets, "--search-dir", str(folder), *more]


def search(config: tuple[str, ...], rule: str, folder: Path, seed: str, *more: str) -> None:
    """Run a search to its end."""
    done = subprocess.run(command(config, rule, folder, seed, *more), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def table(lines: list[dict]) -> str:
    """Write the table."""
    rows = ["# The search", "", "| what | result | runs |", "|---|---|---|"]
    each = {
        what: [line for line in lines if line["what"] == what] for what in ("overhead", "workers", "optuna", "kills")
    }

    def spread(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    for peer in ("ours", "keras_tuner"):
        beyond = [(line[peer]["total"] - line[peer]["fitting"]) / line[peer]["trials"] for line in each["overhead"]]
        if beyond:
            rows.append(f"| seconds beyond the epochs, a trial: {peer} | {spread(beyond)} | {len(beyond)} |")
    for data in ("houses", "tagger"):
        ratios = [line["one"] / line["two"] for line in each["workers"] if line["data"] == data]
        if ratios:
            rows.append(f"| {data}: trials a minute of two workers, beside one | {spread(ratios)} | {len(ratios)} |")
            for count in ("one", "two"):
                busy = spread([line[f"{count}_cores_busy"] for line in each["workers"] if line["data"] == data])
                rows.append(f"| {data}: cores that a search with {count} keeps busy | {busy} | {len(ratios)} |")
    for line in each["optuna"]:
        what = f"best validation rmsle after {TRIALS} trials, seed {line['seed']}: ours, Optuna's TPE"
        rows.append(f"| {what} | {line['ours']:.4f}, {line['optuna']:.4f} | 1 |")
    for line in each["kills"]:
        result = f"{line['lost']} finished trials lost, scores {'the same' if line['same_scores'] else 'differ'}"
        rows.append(f"| {line['kills']} kills at random moments | {result} | 1 |")
    command_ = "python benchmarks/tuning.py overhead|workers|optuna|kills"
    return "\n".join([*rows, *how(command_, ("tensorflow", "keras", "keras-tuner", "optuna"))])


if __name__ == "__main__":
    main()
