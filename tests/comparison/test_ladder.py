"""Comparisons whose trainings are made up: what is planned, remembered, taken up and written."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, invoke, overrides, sets

from pipelines.commands import compare as comparing
from pipelines.comparison.ladder import Plan
from pipelines.config.load import load_config
from pipelines.errors import UserError
from pipelines.runs.checkpoints import Checkpoint
from pipelines.runs.run import Run
from pipelines.tuning.trials import Outcome

LEVELS = {"linear_regression": 30.0, "mlp": 10.0, "mlp_ple": 10.0, "tabm": 11.0}
MODELS = list(LEVELS)


class MadeUp:
    """A pool whose trainings end at once, with a score that depends on model and seed; it may be interrupted."""

    def __init__(self, ends_after=10**6, fails=()):
        self.ends_after, self.fails, self.called = ends_after, fails, []

    def apply_async(self, function, arguments):
        if len(self.called) == self.ends_after:
            raise KeyboardInterrupt
        config = load_config(arguments[0])
        self.called.append((config.model, config.seed))
        return Answer(self.outcome(config, Run(arguments[1])))

    def outcome(self, config, run):
        if config.model in self.fails:
            return Outcome(None, "the loss became nan")
        noise = np.random.default_rng([config.seed, MODELS.index(config.model)]).normal()
        score = LEVELS[config.model] + (0 if config.model == "mlp_ple" else 0.5 * noise)
        epoch = {"epoch": 1, "best_epoch": 1, "seconds": 2.0, "validation.loss": score, "validation.rmsle": score}
        run.save_checkpoint(Checkpoint([], [], [], [epoch]))
        run.finish({"validation": {"rmsle": score}}, {}, (), config.to_yaml())
        return Outcome({**epoch, "parameters": 1000 * MODELS.index(config.model)})

    def terminate(self):
        pass


class Answer:
    def __init__(self, outcome):
        self.outcome = outcome

    def ready(self):
        return True

    def get(self):
        return self.outcome


@pytest.fixture
def compare(csv, monkeypatch):
    def call(folder, pool, *settings, **options):
        monkeypatch.setattr(comparing, "make_pool", lambda *_, **__: pool)
        given = [*overrides(csv, "training.monitor=validation.rmsle"), *settings]
        return comparing.compare(CONFIG, given, comparison_dir=folder, **options)

    return call


def told(results):
    return [(trial.values, trial.score, trial.reason) for trial in results.ladder.trials], results.rows, results.lines()


def test_a_comparison_that_is_killed_and_resumed_ends_as_one_that_is_not(compare, tmp_path):
    whole = compare(tmp_path / "whole", MadeUp(), seeds=3)
    folder, ran = tmp_path / "killed", []
    for attempt in range(5):
        pool = MadeUp(ends_after=5)
        try:
            found = compare(folder, pool, seeds=3 if not attempt else None, resume=attempt > 0)
        except KeyboardInterrupt:
            ran += pool.called
        else:
            ran += pool.called
            break
    assert attempt == 2 and len(ran) == len(set(ran)) == 12
    assert told(found) == told(whole)
    assert (folder / "table.md").read_text() == (tmp_path / "whole" / "table.md").read_text()


class Tunable(MadeUp):
    """Trainings that are the better the nearer the learning rate is to 0.01."""

    def outcome(self, config, run):
        rate = config.optimizer["learning_rate"]
        outcome = super().outcome(config, run)
        if outcome.figures is None:
            return outcome
        return Outcome({**outcome.figures, "validation.rmsle": 10 + abs(np.log10(rate) + 2)})


def test_each_model_is_compared_with_the_best_values_of_its_own_search(compare, tmp_path):
    how = {"seeds": 2, "models": "mlp,tabm", "tune_trials": 4}
    whole = compare(tmp_path / "whole", Tunable(), **how)
    for model, values in whole.ladder.candidates.items():
        search = pd.read_csv(tmp_path / "whole" / "searches" / model / "trials.csv")
        assert len(search) == 4 and values["model"] == model
        best = search.loc[search["validation.rmsle"].idxmin()]
        assert values["optimizer.learning_rate"] == best["optimizer.learning_rate"]
        other = {"mlp": "tabm", "tabm": "mlp"}[model]
        assert not any(path.startswith(f"models.{other}.") for path in values)
    best = load_config(tmp_path / "whole" / "best.yaml")
    assert best.optimizer["learning_rate"] == whole.ladder.candidates[best.model]["optimizer.learning_rate"]
    assert "hyperparameters from 4 trials each" in (tmp_path / "whole" / "table.md").read_text()
    folder = tmp_path / "killed"
    for attempt in range(9):
        try:
            found = compare(folder, Tunable(ends_after=5), **(how if not attempt else {"resume": True}))
            break
        except KeyboardInterrupt:
            continue
    assert attempt == 2 and told(found) == told(whole)  # 12 trainings, five at a time
    with pytest.raises(UserError, match="--tune-trials: was 4"):
        compare(folder, Tunable(), resume=True, tune_trials=5)


def test_a_model_whose_trials_all_fail_keeps_its_values(compare, tmp_path):
    said = []
    pool = Tunable(fails=("mlp",))
    found = compare(tmp_path / "c", pool, seeds=1, models="mlp,tabm", tune_trials=3, say=said.append)
    assert found.ladder.candidates["mlp"] == {"model": "mlp"} and len(found.ladder.candidates["tabm"]) > 1
    assert any("mlp keeps the values of the config" in line for line in said)


def test_what_is_written_says_who_is_best_and_who_may_be_as_good(compare, tmp_path):
    results = compare(tmp_path / "c", MadeUp(), budget="7")
    best, rest = results.standings[0].model, {standing.model: standing for standing in results.standings[1:]}
    assert best in ("mlp", "mlp_ple") and rest["linear_regression"].told_apart
    page = (tmp_path / "c" / "table.md").read_text()
    assert "4 models, 5 seeds, budget of each training: 7." in page
    assert f"best by validation.rmsle: {best}" in page
    assert (
        f"significantly worse than {best} (p < 0.05): " in page and f"not significantly different from {best}: " in page
    )
    assert "cut between train and validation" in page
    config = load_config(tmp_path / "c" / "best.yaml")
    assert (config.model, config.training["epochs"], config.split.get("validation_seed")) == (best, 7, None)
    table = pd.read_csv(tmp_path / "c" / "runs.csv")
    assert table["model"].tolist() == MODELS * 5 and table["seed"].tolist() == [s for s in range(5) for _ in MODELS]
    assert table["split.validation_seed"].isna().sum() == 4
    assert not any(name.startswith("test.") for name in table)
    pictures = {path.stem for path in (tmp_path / "c" / "report").iterdir()}
    assert pictures == {"index", "quality_against_seconds", "quality_against_parameters", "quality_over_time"}


def test_where_nothing_is_shuffled_all_seeds_have_the_same_splits(compare, tmp_path):
    results = compare(tmp_path / "c", MadeUp(), "split.shuffle=false", seeds=2)
    assert all("split.validation_seed" not in trial.values for trial in results.ladder.trials)
    assert "all seeds have the same splits" in results.lines()[-1] and results.ladder.overlap == 0


def test_a_model_that_fails_is_named_and_stops_no_other(compare, tmp_path):
    results = compare(tmp_path / "c", MadeUp(fails=("mlp",)), seeds=2, models="mlp,tabm")
    assert [standing.model for standing in results.standings] == ["tabm"]
    assert any(row[:2] == ["mlp", "failed"] for row in results.rows)
    assert "failed: mlp with seed 0: the loss became nan" in results.lines()
    none = compare(tmp_path / "none", MadeUp(fails=MODELS), seeds=1)
    assert none.lines()[0] == "no model has a score" and not (tmp_path / "none" / "best.yaml").exists()


def test_more_seeds_and_models_join_and_nothing_else_may_change(compare, tmp_path):
    first = compare(tmp_path / "c", MadeUp(), seeds=2, models="mlp", budget="90s")
    assert first.ladder.base.training["max_seconds"] == 90
    pool = MadeUp()
    longer = compare(tmp_path / "c", pool, seeds=3, models="tabm", resume=True)
    assert sorted(pool.called) == [("mlp", 2), ("tabm", 0), ("tabm", 1), ("tabm", 2)]
    assert longer.ladder.trials[:2] == first.ladder.trials
    with pytest.raises(UserError, match="--budget: was 90s when this comparison was started"):
        compare(tmp_path / "c", MadeUp(), budget="60s", resume=True)
    with pytest.raises(UserError, match="this comparison was started with a different config"):
        compare(tmp_path / "c", MadeUp(), "batches.size=16", resume=True)
    with pytest.raises(UserError, match="already exists; choose another --comparison-dir"):
        compare(tmp_path / "c", MadeUp())


def test_models_that_need_a_preset_are_trained_if_they_are_named():
    base = load_config("entity_tagger")
    unaided = Plan.of(base, None, None, None, 0, None).models
    assert "pretrained" not in unaided and len(unaided) > 3
    assert Plan.of(base, "+pretrained", None, None, 0, None).models == (*unaided, "pretrained")
    assert Plan.of(base, "pretrained", None, None, 0, None).models == ("pretrained",)


BAD = {
    "an unknown model": (["--models", "mlp,tabn"], "--models: the config has no model 'tabn'; did you mean 'tabm'?"),
    "a budget that is none": (["--budget", "5 minutes"], "--budget: '5 minutes' is neither a time"),
    "a budget of nothing": (["--budget", "0"], "--budget: '0' is neither a time"),
    "no comparison to resume": (["--resume"], "contains no comparison"),
    "an unknown setting": (["--set", "models.mlp.unit=3"], "models.mlp.unit"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gets_one_line_before_anything_runs(case, csv, tmp_path):
    options, message = BAD[case]
    result = invoke("compare", CONFIG, *sets(overrides(csv)), *options, "--comparison-dir", tmp_path / "c")
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output, result.output
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "c").exists()


def test_a_plan_is_json(compare, tmp_path):
    compare(tmp_path / "c", MadeUp(), seeds=1, models="mlp")
    assert json.loads((tmp_path / "c" / "plan.json").read_text()) == {
        "models": ["mlp"],
        "seeds": 1,
        "budget": None,
        "tune_trials": 0,
    }
