"""What further trainings of a diagnosis tell: which steps helped, and what more data would give."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import invoke

import pipelines
from pipelines.config.load import load_config
from pipelines.diagnosis.curve import Curve, shares_of
from pipelines.diagnosis.gaps import Metric
from pipelines.diagnosis.trainings import OWN
from pipelines.diagnosis.tries import compare_with_own
from pipelines.runs.run import Run
from pipelines.statistics.power_law import fit_power_law
from pipelines.tuning.trials import Outcome


def tries_of(random, effects, seeds, spread=0.5):
    """Scores where each seed has an easy or hard split, and a step changes them by its effect."""
    split = random.normal(0, 3, seeds)
    return {
        name: dict(enumerate(10 + split + effect + random.normal(0, spread, seeds)))
        for name, effect in {OWN: 0.0, **effects}.items()
    }


def test_a_step_that_helps_is_told_from_one_that_does_not():
    scores = tries_of(np.random.default_rng(0), {"good": -3.0, "bad": 3.0, "none": 0.0}, seeds=5)
    tried = {each.name: each for each in compare_with_own(scores, ["good", "bad", "none"], "min", overlap=0.25)}
    assert [tried[name].outcome for name in ("good", "bad", "none")] == ["helped", "made it worse", "cannot tell"]
    assert tried["good"].against_own.difference.value == pytest.approx(3, abs=1)
    upside_down = compare_with_own(scores, ["good"], "max", overlap=0.25)
    assert upside_down[0].outcome == "made it worse"


def test_steps_without_effect_hardly_ever_help():
    random = np.random.default_rng(1)
    names, found = [f"step {number}" for number in range(4)], 0
    for _ in range(200):
        scores = tries_of(random, dict.fromkeys(names, 0.0), seeds=3)
        found += any(each.outcome != "cannot tell" for each in compare_with_own(scores, names, "min"))
    assert found <= 200 * 0.09  # nominally 5 %, with three standard errors of 200 simulations


def test_a_step_that_always_failed_is_said_to_have_failed():
    scores = {OWN: {0: 1.0, 1: 1.1}, "a": {}, "b": {0: 0.9, 1: 1.0}}
    assert [each.outcome for each in compare_with_own(scores, ["a", "b"], "min")] == ["failed", "helped"]


def test_the_curve_is_told_in_the_unit_of_the_metric():
    errors = np.array([[0.4, 0.3, 0.24, 0.2, 0.18], [0.41, 0.31, 0.25, 0.21, 0.19]])
    curve = Curve([100, 200, 400, 800, 1600], errors.tolist(), fit_power_law([100, 200, 400, 800, 1600], errors))
    said = curve.sentence(Metric("accuracy", 1.0))
    assert f"twice the data would give accuracy {1 - curve.law.doubled.value:.4g}" in said and "now it is 0.815" in said
    low, high = said.split("(")[1].split(")")[0].split(" to ")
    assert float(low) < 1 - curve.law.doubled.value < float(high)


def test_small_data_is_not_cut_into_crumbs():
    shares = [next(iter(changes.values())) for changes in shares_of(128, 1.0).values()]
    assert shares == pytest.approx([0.25, 0.353553, 0.5, 0.707107])
    halved = [next(iter(changes.values())) for changes in shares_of(10_000, 0.5).values()]
    assert halved == pytest.approx([1 / 32, 1 / 16, 1 / 8, 1 / 4])


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the finished run, to train in."""
    return Path(shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("diagnosis")))


class MadeUp:
    """A pool whose trainings end at once: longer training and more examples help; it may be interrupted."""

    def __init__(self, ends_after=10**6):
        self.ends_after, self.called = ends_after, []

    def apply_async(self, function, arguments):
        if len(self.called) == self.ends_after:
            raise KeyboardInterrupt
        config = load_config(arguments[0])
        examples = round(96 * config.split.get("train_share", 1))
        self.called.append((config.training["epochs"], examples, config.seed))
        score = (
            examples**-0.3
            - 0.02 * (config.training["epochs"] > 4)
            + 0.001 * np.random.default_rng(config.seed).normal()
        )
        run = Run(arguments[1])
        run.start(config.to_yaml(), {"examples": {"train": examples}, "fingerprint": {}}, [], {}, {})
        outcome = Outcome({"validation.loss": score, "validation.rmsle": score})
        return SimpleNamespace(ready=lambda: True, get=lambda: outcome)

    def terminate(self):
        pass


def test_trainings_that_are_killed_go_on_and_end_as_others_do(own_run, monkeypatch):
    ran, begun = [], 0
    while begun < 9:
        begun += 1
        pool = MadeUp(ends_after=5)
        monkeypatch.setattr("pipelines.diagnosis.trainings.make_pool", lambda *_, pool=pool: pool)
        try:
            found = pipelines.diagnose(own_run, tries=1, curve=True)
        except KeyboardInterrupt:
            ran += pool.called
        else:
            ran += pool.called
            break
    assert begun == 4 and len(ran) == len(set(ran)) == 18
    (tried,) = found.tried
    assert (tried.name, tried.outcome, tried.seeds) == ("longer-training", "helped", 3)
    assert found.curve.law.doubled.value == pytest.approx(192**-0.3, rel=0.05)
    assert json.loads((own_run / "diagnosis" / "diagnosis.json").read_text())["curve"]["examples"][-1] == 96
    assert (own_run / "diagnosis" / "curve.png").is_file()


@pytest.mark.slow
def test_steps_and_sizes_are_trained_once_and_told(own_run):
    result = invoke("diagnose", own_run, "--try", "1", "--curve", "--batch-sizes", "--seeds", "2", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record == json.loads((own_run / "diagnosis" / "diagnosis.json").read_text())
    (tried,) = record["tried"]
    assert tried["name"] == record["next"][0]["name"] and tried["seeds"] == 2 and len(record["learnt"]) == 3
    assert record["curve"]["examples"][-1] == 96 and len(record["curve"]["errors"]) == 2
    assert (own_run / "diagnosis" / "curve.png").is_file()
    assert [each["size"] for each in record["batch_sizes"]["sizes"]] == [16, 32]  # of 96 examples
    assert (own_run / "diagnosis" / "batch_sizes.png").is_file()
    journal = own_run / "diagnosis" / "trainings" / "journal.jsonl"
    before = journal.read_text()
    assert before.count('"event": "ended"') == 2 * 7
    again = invoke("diagnose", own_run, "--try", "1", "--curve", "--batch-sizes", "--seeds", "2")
    assert again.exit_code == 0 and journal.read_text() == before
    assert "twice the data would give rmsle" in again.output and "longer training" in again.output


def test_without_a_proposal_there_is_nothing_to_try(finished_run, monkeypatch):
    monkeypatch.setattr("pipelines.commands.diagnose.propose", lambda *_: [])
    result = invoke("diagnose", finished_run, "--try", "2")
    assert result.exit_code == 1 and "error: --try: there is nothing to try" in result.stderr
