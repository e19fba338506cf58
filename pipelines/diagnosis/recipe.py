"""Propose what to change after a verdict: the basic recipe of the course, as overrides of the run's own config.

High bias: a bigger network, longer training, another architecture. High variance: more data, regularization, another
architecture. The proposals know settings by their names, such as `dropout`, and no task.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.config.load import Config, load_config
from pipelines.config.read import shipped_defaults
from pipelines.config.tune_nodes import is_tune_node
from pipelines.diagnosis.verdict import Kind
from pipelines.errors import UserError
from pipelines.runs.run import Run
from pipelines.tasks import ladder

SIZES = ("units", "filters", "width", "feed_forward_units")  # of a network: twice as large
DROPOUTS = ("dropout", "word_dropout")
MORE_DROPOUT, MOST_DROPOUT = 0.15, 0.5  # 0.5 keeps half of the units, as in Srivastava et al. 2014
TIMES = 3.0  # penalties work by their order of magnitude
PENALTIES = {"l2": 1e-4, "weight_decay": 0.01}  # the usual values, where there is none
AUGMENTATIONS = {"crop": 0.1, "cutout": 0.25, "mixup": 0.2, "split_tokens": 0.1}  # more data out of the same data


@dataclass(frozen=True)
class Step:
    """What to do next and why; `config` is that of the run with the changes, or None if no setting can do it."""

    name: str
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # dotted path of a setting -> its new value
    config: Config | None = None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The changes as they are typed after `--set`."""
        return tuple(
            f"{path}={value if isinstance(value, str) else json.dumps(value)}"  # JSON is valid YAML
            for path, value in self.changes.items()
        )

    @property
    def same_splits(self) -> bool:
        """Whether it is measured on the examples on which the run was."""
        return not any(path.startswith("split.") for path in self.changes)


Recipe = Callable[[Config], Iterator[Step]]


def propose(run: Run, blamed: Collection[Kind], own_splits: bool, still_learning: bool) -> list[Step]:
    """Return the steps for each cause, bias first, without those whose settings this config does not take.

    `own_splits`: the source has its own validation split, so that its share cannot be changed. `still_learning`: longer
    training comes first, because the loss was still falling at the end.
    """
    config = load_config(run.config)
    sizes = [_longer, _bigger] if still_learning else [_bigger, _longer]
    recipes: dict[Kind, list[Recipe]] = {
        "bias": [*sizes, _next_architecture, *([] if "variance" in blamed else [_less_regularized])],
        "variance": [_augmented, _more_data, _regularized, _pretrained, _smaller_architecture],
        "variance or mismatch": [_with_train_dev],
        "mismatch": [_like_validation],
        "validation overfitted": [_new_validation if own_splits else _more_validation],
    }
    recipes["variance or mismatch"] += recipes["variance"]
    steps: list[Step] = []
    for kind in [kind for kind in recipes if kind in blamed]:
        found = [_checked(run, step) for recipe in recipes[kind] for step in recipe(config)]
        steps += [step for step in found if step is not None and step.name not in {other.name for other in steps}]
    return steps


def _checked(run: Run, step: Step) -> Step | None:
    """Return a step with its config, or None if its settings are not valid here."""
    if not step.changes:
        return step
    try:
        return replace(step, config=load_config(run.config, step.overrides))
    except UserError:
        return None


def _bigger(config: Config) -> Iterator[Step]:
    own = config.models[config.model]
    larger = {name: _twice(own[name]) for name in SIZES if own.get(name)}
    if larger:
        found = {f"models.{config.model}.{name}": value for name, value in larger.items()}
        yield Step("bigger-network", "a bigger network can fit the training data better", found)


def _longer(config: Config) -> Iterator[Step]:
    epochs, patience = config.training["epochs"], config.training.get("patience")
    more = {"training.epochs": 2 * epochs, **({"training.patience": 2 * patience} if patience else {})}
    yield Step("longer-training", "training longer lets the loss fall further", more)


def _next_architecture(config: Config) -> Iterator[Step]:
    for name in _ladder(config)[_ladder(config).index(config.model) + 1 :][:1]:
        reason = "another architecture, further up the ladder of this task, may suit the data better"
        yield Step("other-architecture", reason, {"model": name})


def _less_regularized(config: Config) -> Iterator[Step]:
    less = {path: value / 2 for path, value in _regularizers(config).items() if value}
    if less:
        yield Step("less-regularisation", "regularisation holds a network back that underfits", less)


def _augmented(config: Config) -> Iterator[Step]:
    known = {f"preprocessing.{name}": value for name, value in config.preprocessing.items()}
    for name, value in (config.preprocessing.get("augmentation") or {}).items():
        known[f"preprocessing.augmentation.{name}"] = value
    more = {path: AUGMENTATIONS.get(path.rpartition(".")[2]) for path, value in known.items() if value == 0}
    found = {path: value for path, value in more.items() if value}
    if found:
        yield Step("augmentation", "more data out of the same data: varied examples are harder to memorize", found)


def _more_data(config: Config) -> Iterator[Step]:
    yield Step("more-data", "more training examples are the surest cure: collect some, then train the same config")


def _regularized(config: Config) -> Iterator[Step]:
    more: dict[str, Any] = {}
    for path, value in _regularizers(config).items():
        name = path.rpartition(".")[2]
        if name in DROPOUTS:
            raised = round(min(value + MORE_DROPOUT, _most(config, path)), 3)
        else:
            raised = float(f"{TIMES * value:.6g}") if value else PENALTIES[name]
        more |= {path: raised} if raised > value else {}
    if more:
        yield Step("regularisation", "regularisation keeps the weights small, and the network simpler", more)


def _pretrained(config: Config) -> Iterator[Step]:
    if config.models[config.model].get("preset"):
        return
    menu = config.whole["models"]
    for name in [name for name, own in menu.items() if own and own.get("preset")][:1]:
        reason = "another architecture, whose weights know far more data than yours (its files are downloaded once)"
        yield Step("pretrained", reason, {"model": name})


def _smaller_architecture(config: Config) -> Iterator[Step]:
    for name in _ladder(config)[: _ladder(config).index(config.model)][-1:]:
        reason = "a simpler architecture has less capacity to overfit"
        yield Step("simpler-architecture", reason, {"model": name})


def _with_train_dev(config: Config) -> Iterator[Step]:
    reason = "a train-dev split distinguishes variance from data mismatch: train, then diagnose that run"
    yield Step("train-dev", reason, {"split.train_dev": 0.1})


def _like_validation(config: Config) -> Iterator[Step]:
    reason = (
        "look at wrong validation predictions, find how their examples differ from the training data, and collect such"
    )
    yield Step("data-like-validation", f"{reason} training examples")


def _more_validation(config: Config) -> Iterator[Step]:
    train, validation = config.split["train"], config.split["validation"]
    share = round(min(2 * validation, validation + train / 2), 6)
    reason = "choosing among settings overfits a small validation split, a larger one less; the test split is unchanged"
    yield Step(
        "more-validation",
        reason,
        {"split.validation": share, "split.train": round(train + validation - share, 6)},
    )


def _new_validation(config: Config) -> Iterator[Step]:
    reason = "choosing among settings has fitted the validation split: collect a new or a larger one"
    yield Step("new-validation", reason)


def _ladder(config: Config) -> list[str]:
    """Return the models that the config has settings for and that need no preset, simplest first; and its own."""
    return [name for name in ladder(config) if name == config.model or not config.models[name].get("preset")]


def _regularizers(config: Config) -> dict[str, float]:
    """Return the settings that regularize, by path: those of the model, and the weight decay."""
    own = config.models[config.model]
    found = {f"models.{config.model}.{name}": own[name] for name in (*DROPOUTS, *PENALTIES) if name in own}
    return {**found, **{f"optimizer.{n}": config.optimizer[n] for n in PENALTIES if n in config.optimizer}}


def _most(config: Config, path: str) -> float:
    """Return the largest value that a search of this task would try."""
    node: Any = shipped_defaults(config.task) or {}
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node["tune"]["max"] if is_tune_node(node) and isinstance(node["tune"], dict) else MOST_DROPOUT


def _twice(value: Any) -> Any:
    return [_twice(each) for each in value] if isinstance(value, list) else 2 * value
