"""Searches whose trials are made up: what is proposed, remembered, taken up, repeated and given up."""

import json
import math

import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets

from pipelines.commands import tune as tuning
from pipelines.config.load import load_config
from pipelines.config.read import read_config
from pipelines.errors import UserError
from pipelines.tuning.journal import SearchFolder
from pipelines.tuning.pools import Killed
from pipelines.tuning.search import Search
from pipelines.tuning.space import Space
from pipelines.tuning.trials import Outcome

SHARED = "objective: validation.rmse, keep: 2, max_failures: 3"
TUNING = {
    "random": f"tuning={{name: random, max_trials: 8, {SHARED}}}",
    "grid": f"tuning={{name: grid, max_trials: 8, {SHARED}}}",
    "bayesian": f"tuning={{name: bayesian, max_trials: 8, initial_trials: 3, {SHARED}}}",
    "hyperband": f"tuning={{name: hyperband, factor: 3, iterations: 1, {SHARED}}}",
}
RATE = "optimizer.learning_rate={tune: {min: 1.0e-4, max: 1.0e-1, sampling: log}, default: 1.0e-3}"


class MadeUp:
    """A pool whose trials end at once, with a score that depends on their values; it may kill the search."""

    def __init__(self, ends_after: int = 10**6):
        self.ends_after, self.called = ends_after, []

    def apply_async(self, function, arguments):
        if len(self.called) == self.ends_after:
            raise KeyboardInterrupt
        config_path, folder, _, until_epoch, _ = arguments
        config = load_config(config_path)
        self.called.append(folder.name)
        return Answer(self.outcome(config, folder, until_epoch))

    def outcome(self, config, folder, until_epoch):
        from pipelines.runs.checkpoints import Checkpoint
        from pipelines.runs.run import Run

        rate = config.optimizer["learning_rate"]
        score = abs(math.log10(rate) + 2.5) + 1 / (until_epoch or config.training["epochs"])
        best = {"epoch": 1, "best_epoch": 1, "seconds": 1.0, "loss": score, "validation.loss": score}
        figures = {**best, "validation.rmse": score}
        run = Run(folder)
        run.save_checkpoint(Checkpoint([], [], [], [figures]))
        run._weights.write_text("weights")
        return Outcome(figures)

    def terminate(self):
        pass


class Answer:
    def __init__(self, outcome):
        self.outcome = outcome

    def ready(self):
        return True

    def get(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def search(folder, csv, pool, *settings, workers=1, resume=False, monkeypatch=None):
    monkeypatch.setattr(tuning, "make_pool", lambda *_: pool)
    return tuning.tune(CONFIG, [*overrides(csv), *settings], workers, None, folder, resume)


def told(found: Search):
    return [(trial.values, trial.score, trial.reason, trial.repeats) for trial in found.trials]


KILLED = [("random", 1), ("grid", 3), ("bayesian", 3), ("hyperband", 1)]
KILLED += [pytest.param(oracle, 4 - workers, marks=pytest.mark.slow) for oracle, workers in KILLED]


@pytest.mark.parametrize(("oracle", "workers"), KILLED)
def test_a_search_that_is_killed_and_resumed_ends_as_one_that_is_not(oracle, workers, csv, tmp_path, monkeypatch):
    settings = [TUNING[oracle], RATE]
    whole = search(tmp_path / "whole", csv, MadeUp(), *settings, workers=workers, monkeypatch=monkeypatch)
    assert len(whole.trials) >= 5 and all(trial.score is not None for trial in whole.trials)
    folder, ran = tmp_path / "killed", []
    for attempt in range(100):
        pool = MadeUp(ends_after=workers + 1)
        try:
            found = search(folder, csv, pool, *settings, workers=workers, resume=attempt > 0, monkeypatch=monkeypatch)
        except KeyboardInterrupt:
            ran += pool.called
        else:
            ran += pool.called
            break
    assert attempt > 0
    if workers == 1:
        assert told(found) == told(whole)
        assert len(ran) == len(set(ran)), "a trial that had ended ran again"
    assert {trial.number for trial in found.trials} == {trial.number for trial in whole.trials}


def test_the_best_config_has_the_best_values_and_the_table_all(csv, tmp_path, monkeypatch):
    sizes = "batches.size={tune: [16, 32, auto], default: 32}"
    found = search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, sizes, monkeypatch=monkeypatch)
    best = min(found.trials, key=lambda trial: trial.score)
    config = load_config(tmp_path / "s" / "best.yaml")
    assert config.optimizer["learning_rate"] == best.values["optimizer.learning_rate"]
    assert "# maximum, reached after the warm-up" in (tmp_path / "s" / "best.yaml").read_text()
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert table["validation.rmse"].tolist() == pytest.approx([trial.score for trial in found.trials])
    pictures = {path.stem for path in (tmp_path / "s" / "report").iterdir()}
    assert pictures == {"index", "objective", "parallel_coordinates", "importance", "batch_size"}
    kept = [trial for trial in found.trials if found.folder.trial(trial.number)._weights.exists()]
    assert sorted(trial.score for trial in kept) == sorted(trial.score for trial in found.trials)[:2]


def test_a_small_space_ends_the_search_and_nothing_runs_twice(csv, tmp_path, monkeypatch):
    pool = MadeUp()
    fixed = "models.mlp.dropout=0.1", "optimizer.learning_rate=0.001"
    found = search(
        tmp_path / "s", csv, pool, TUNING["random"], *fixed, "batches.size={tune: [16, 32, 32], default: 16}",
        monkeypatch=monkeypatch,
    )  # fmt: skip
    assert len(found.trials) == 3 and len(pool.called) == 2
    assert [trial.repeats is not None for trial in found.trials].count(True) == 1


def test_a_rung_that_is_searched_brings_its_own_nodes(csv, tmp_path, monkeypatch):
    rungs = "model={tune: [linear_regression, mlp], default: mlp}"
    dropout = "models.mlp.dropout={tune: {min: 0.0, max: 0.5}, default: 0.1}"
    found = search(tmp_path / "s", csv, MadeUp(), TUNING["random"], rungs, dropout, monkeypatch=monkeypatch)
    assert {trial.values["model"] for trial in found.trials} == {"linear_regression", "mlp"}
    for trial in found.trials:
        assert ("models.mlp.dropout" in trial.values) == (trial.values["model"] == "mlp")
        assert not any(path.startswith("models.tabm") for path in trial.values)


class Failing(MadeUp):
    """Fails where the learning rate is high; `killed` lists trials whose process dies, each time it is called."""

    def __init__(self, killed=()):
        super().__init__()
        self.killed = list(killed)

    def outcome(self, config, folder, until_epoch):
        if folder.name in self.killed:
            self.killed.remove(folder.name)
            return Killed("its process ended with signal 9")
        if config.optimizer["learning_rate"] > 1e-3:
            return Outcome(None, "optimizer.learning_rate: the loss became nan in epoch 1")
        return super().outcome(config, folder, until_epoch)


def test_a_failed_trial_is_recorded_and_the_search_goes_on(csv, tmp_path, monkeypatch):
    pool = Failing()
    found = search(
        tmp_path / "s", csv, pool, TUNING["random"].replace("max_failures: 3", "max_failures: 8"), RATE,
        monkeypatch=monkeypatch,
    )  # fmt: skip
    failed = [trial for trial in found.trials if trial.reason]
    assert failed and len(failed) < len(found.trials) == 8
    assert all("the loss became nan" in trial.reason for trial in failed)
    assert "the loss became nan" in (tmp_path / "s" / "trials.csv").read_text()


def test_a_failed_trial_is_told_to_the_oracle_as_the_worst(csv, tmp_path, monkeypatch):
    rule = TUNING["random"].replace("max_failures: 3", "max_failures: 8")
    found = search(tmp_path / "s", csv, Failing(), rule, RATE, monkeypatch=monkeypatch)
    told_to_oracle = [trial.score for trial in found.oracle.trials.values()]
    scores = [trial.score for trial in found.trials]
    assert None in scores and len({score for score in scores if score is not None}) > 1
    for number, score in enumerate(scores):
        before = [other for other in scores[:number] if other is not None]
        if score is None and before:
            assert told_to_oracle[number] == max(before)  # the objective is an error: the largest is the worst


def test_too_many_failures_in_a_row_end_the_search_with_their_reasons(csv, tmp_path, monkeypatch):
    high = RATE.replace("1.0e-4", "2.0e-3").replace("default: 1.0e-3", "default: 3.0e-3")
    with pytest.raises(UserError, match=r"the last 3 trials failed.*trial 0: .*the loss became nan"):
        search(tmp_path / "s", csv, Failing(), TUNING["random"], high, monkeypatch=monkeypatch)
    assert (tmp_path / "s" / "trials.csv").exists()


def test_a_killed_trial_starts_again_and_fails_in_the_end(csv, tmp_path, monkeypatch):
    low = RATE.replace("1.0e-1", "1.0e-3")
    found = search(tmp_path / "a", csv, Failing(["0001"]), TUNING["random"], low, monkeypatch=monkeypatch)
    assert all(trial.score is not None for trial in found.trials)
    found = search(tmp_path / "b", csv, Failing(["0001"] * 3), TUNING["random"], low, monkeypatch=monkeypatch)
    assert [trial.number for trial in found.trials if trial.reason] == [1]
    assert found.trials[1].reason == "its process ended with signal 9"


def test_hyperband_gives_the_best_more_epochs_from_where_they_were(csv, tmp_path, monkeypatch):
    found = search(
        tmp_path / "s", csv, MadeUp(), TUNING["hyperband"], RATE, "training.epochs=9", monkeypatch=monkeypatch
    )
    epochs = {trial.until_epoch for trial in found.trials}
    assert max(epochs) == 9 and len(epochs) > 1
    going_on = [trial for trial in found.trials if trial.goes_on is not None]
    for trial in going_on:
        before = found.trials[trial.goes_on]
        assert before.values == trial.values and before.until_epoch < trial.until_epoch
    assert going_on and found.ranked[0].until_epoch == 9


@pytest.mark.slow
def test_every_kind_of_node_is_proposed_by_every_oracle_past_its_first_trials(csv, tmp_path, monkeypatch):
    nodes = [
        "models.mlp.dropout={tune: {min: 0.0, max: 0.4}, default: 0.1}",
        "batches.size={tune: {min: 8, max: 64, sampling: log}, default: 16}",
        "models.mlp.units={tune: [[4], [4, 4], [8]], default: [4]}",
    ]
    for oracle, rule in TUNING.items():
        found = search(tmp_path / oracle, csv, MadeUp(), rule, RATE, *nodes, monkeypatch=monkeypatch)
        assert all(trial.score is not None for trial in found.trials)
        for trial in found.trials:
            assert 8 <= trial.values["batches.size"] <= 64 and type(trial.values["batches.size"]) is int
            assert type(trial.values["models.mlp.dropout"]) is float


@pytest.mark.parametrize("oracle", ["random", "bayesian"])
def test_a_refusal_is_remembered_too(oracle, csv, tmp_path, monkeypatch):
    """In a small space an oracle may refuse, draw on, and propose after all: a replay has to draw as often."""
    sizes = "batches.size={tune: [8, 16, 24, 32], default: 16}"
    units = "models.mlp.units={tune: [[4], [8]], default: [4]}"
    fixed = [TUNING[oracle], sizes, units, "optimizer.learning_rate=0.001", "models.mlp.dropout=0.1"]
    for attempt in range(30):
        try:
            found = search(
                tmp_path / "s",
                csv,
                MadeUp(ends_after=4),
                *fixed,
                workers=3,
                resume=attempt > 0,
                monkeypatch=monkeypatch,
            )
        except KeyboardInterrupt:
            continue
        break
    assert len(found.trials) == 8 and attempt > 0
    assert all(trial.score is not None for trial in found.trials)


def test_what_failed_is_not_run_again(csv, tmp_path, monkeypatch):
    sizes = "batches.size={tune: [8, 16, 32], default: 16}"
    rates = "optimizer.learning_rate={tune: [0.001, 0.1, 0.1], default: 0.001}"
    pool = Failing()
    many = TUNING["bayesian"].replace("max_trials: 8", "max_trials: 9").replace("max_failures: 3", "max_failures: 9")
    found = search(tmp_path / "s", csv, pool, many, sizes, rates, "models.mlp.dropout=0.1", monkeypatch=monkeypatch)
    assert len(pool.called) == len({json.dumps(trial.values) for trial in found.trials})
    assert any(trial.repeats is not None and trial.reason for trial in found.trials)


def test_an_infinite_objective_is_a_failure(csv, tmp_path, monkeypatch):
    class Infinite(MadeUp):
        def outcome(self, config, folder, until_epoch):
            made = super().outcome(config, folder, until_epoch)
            return made if folder.name != "0000" else Outcome({**made.figures, "validation.rmse": math.inf})

    found = search(tmp_path / "s", csv, Infinite(), TUNING["random"], RATE, monkeypatch=monkeypatch)
    assert [trial.reason for trial in found.trials if trial.reason] == ["validation.rmse is inf"]
    assert found.ranked[0].number != 0


def test_hyperband_keeps_no_more_weights_than_asked_in_the_end(csv, tmp_path, monkeypatch):
    rule = [TUNING["hyperband"], RATE, "training.epochs=9"]
    found = search(tmp_path / "s", csv, MadeUp(), *rule, monkeypatch=monkeypatch)
    assert sum(found.folder.trial(trial.number)._weights.exists() for trial in found.trials) == 2


def test_a_search_of_other_data_is_refused(csv, tmp_path, monkeypatch):
    rows = csv.read_text().splitlines(keepends=True)
    other = tmp_path / csv.name
    other.write_text("".join(rows))
    search(tmp_path / "s", other, MadeUp(), TUNING["random"], RATE, monkeypatch=monkeypatch)
    other.write_text("".join(rows[:-1]))
    with pytest.raises(UserError, match="the data has changed since this search was started"):
        search(tmp_path / "s", other, MadeUp(), TUNING["random"], RATE, resume=True, monkeypatch=monkeypatch)


def test_a_torn_line_of_the_journal_never_happened(csv, tmp_path, monkeypatch):
    found = search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, monkeypatch=monkeypatch)
    journal = tmp_path / "s" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])
    again = search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, resume=True, monkeypatch=monkeypatch)
    assert told(again) == told(found)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


BAD = {
    "nothing to search": (
        ["optimizer.learning_rate=0.1", "batches.size=8", "models.mlp.dropout=0.1"],
        "has no `tune` node",
    ),
    "no rule": (["tuning=null"], "has no section `tuning`"),
    "an empty choice": (
        ["batches.size={tune: [], default: 1}"],
        "batches.size: tune node: the list of choices is empty",
    ),
    "a choice of another kind": (["batches.size={tune: [8, many], default: 8}"], "batches.size: "),
    "an end out of range": (["models.mlp.dropout={tune: {min: 0.0, max: 1.5}, default: 0.1}"], "models.mlp.dropout: "),
    "min above max": (
        ["models.mlp.dropout={tune: {min: 0.4, max: 0.1}, default: 0.1}"],
        "min 0.4 is not below max 0.1",
    ),
    "a default outside": (
        ["models.mlp.dropout={tune: {min: 0.1, max: 0.4}, default: 0.5}"],
        "default 0.5 is not between",
    ),
    "log through zero": (
        ["models.mlp.dropout={tune: {min: 0.0, max: 0.4, sampling: log}, default: 0.1}"],
        "log sampling needs a min above zero",
    ),
    "a half between whole numbers": (
        ["models.mlp.units={tune: {min: 1, max: 9, step: 0.5}, default: 4}"],
        "an integer range needs an integer step, not 0.5",
    ),
    "a step of no factor": (
        ["optimizer.learning_rate={tune: {min: 0.1, max: 0.9, step: 0.5, sampling: log}, default: 0.1}"],
        "the step of log sampling is a factor above 1, not 0.5",
    ),
    "no end": (["models.mlp.dropout={tune: {min: 0.1, max: .inf}, default: 0.5}"], "should be a finite number"),
    "an unknown rung": (["model={tune: [mlp, cnn], default: mlp}"], "model: "),
    "a search of the search": (
        ["tuning.max_trials={tune: [1, 2], default: 1}"],
        "tuning.max_trials: cannot be tuned",
    ),
    "an unknown objective": (["tuning.objective=validation.f1"], "tuning.objective: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gets_one_line_before_anything_runs(case, csv, tmp_path):
    settings, message = BAD[case]
    result = invoke("tune", CONFIG, *sets([*overrides(csv), *settings]), "--search-dir", tmp_path / "s")
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output, result.output
    assert all(message.split(":")[0] in line for line in result.stderr.splitlines())
    assert not (tmp_path / "s").exists()


def test_a_folder_of_another_search_is_left_alone(csv, tmp_path, monkeypatch):
    search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, monkeypatch=monkeypatch)
    with pytest.raises(UserError, match="already exists"):
        search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, monkeypatch=monkeypatch)
    with pytest.raises(UserError, match="started with a different config"):
        search(tmp_path / "s", csv, MadeUp(), TUNING["grid"], RATE, resume=True, monkeypatch=monkeypatch)
    with pytest.raises(UserError, match="contains no search"):
        search(tmp_path / "none", csv, MadeUp(), TUNING["grid"], RATE, resume=True, monkeypatch=monkeypatch)
    with (
        SearchFolder(tmp_path / "s").locked(),
        pytest.raises(UserError, match="another search is running in this folder"),
    ):
        search(tmp_path / "s", csv, MadeUp(), TUNING["random"], RATE, resume=True, monkeypatch=monkeypatch)


def test_choices_may_be_lists_and_of_mixed_kinds(csv):
    units = "models.mlp.units={tune: [[8], [8, 4]], default: [8]}"
    sizes = "batches.size={tune: [16, full, auto], default: full}"
    space = Space.of(read_config(CONFIG, [*overrides(csv), units, sizes]))
    for number, wanted in enumerate([[8], [8, 4]]):
        values = space.values({"models.mlp.units": number, "batches.size": 1})
        config = space.config(values)
        assert config.models["mlp"]["units"] == wanted and config.batches["size"] == "full"
