"""Convert a config's `tune` nodes to a KerasTuner search space, and an oracle's values back to a config."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_tuner import HyperParameters
from ruamel.yaml.comments import CommentedMap

from pipelines.config.load import Config, check
from pipelines.config.read import Unresolved
from pipelines.config.tune_nodes import Range, TuneNode, tune_nodes
from pipelines.errors import UserError

FIXED = ("task", "tuning")


@dataclass(frozen=True)
class Space:
    """The `tune` nodes of a config that its search can reach, by dotted path, in the order of the file."""

    unresolved: Unresolved
    nodes: dict[str, TuneNode]

    @classmethod
    def of(cls, unresolved: Unresolved) -> "Space":
        """Find the nodes, and check that each choice, and both ends of each range, make a valid config.

        Raises:
            UserError: If there are no nodes, or a value is not valid. The message names the node and the value.
        """
        models = _models(unresolved)
        nodes = {
            path: node
            for path, node in tune_nodes(unresolved).items()
            if not path.startswith("models.") or path.split(".")[1] in models
        }
        for path in nodes:
            if path.split(".")[0] in FIXED:
                raise UserError(
                    unresolved.places.of(path.split(".")), "cannot be tuned; replace the `tune` node with a value"
                )
        if not nodes:
            raise UserError(unresolved.path, "has no `tune` node; add one, such as {tune: [64, 128], default: 64}")
        space = cls(unresolved, nodes)
        space.config({})
        for path, node in nodes.items():
            for value in _extremes(node):
                space.config({path: value})
        return space

    def hyperparameters(self) -> HyperParameters:
        """Return the search space for an oracle.

        A choice is given by its index, because KerasTuner accepts neither lists nor mixed types.
        """
        space, model = HyperParameters(), self.nodes.get("model")
        for path, node in sorted(
            self.nodes.items(), key=lambda item: item[0] != "model"
        ):  # `model` first, because other nodes depend on it
            owner = path.split(".")[1] if path.startswith("models.") else None  # the architecture that has the node
            if owner is not None and model is not None and isinstance(model.tune, list):
                choice = model.tune.index(owner)
                with space.conditional_scope("model", [choice]):
                    _register(space, path, node)
            else:
                _register(space, path, node)
        return space

    def values(self, proposed: Mapping[str, Any]) -> dict[str, Any]:
        """Convert an oracle's values of the nodes to the config's values."""
        return {path: _value(node, proposed[path]) for path, node in self.nodes.items() if path in proposed}

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the config in which these nodes have these values, and all others their default."""
        document = copy.deepcopy(self.unresolved.document)
        for path, value in values.items():
            *parents, leaf = path.split(".")
            section: CommentedMap = document
            for parent in parents:
                section = section[parent]
            section[leaf] = value
        return check(Unresolved(document, self.unresolved.path, self.unresolved.overridden))


def make_runs_absolute(document: CommentedMap) -> None:
    """Make the paths of other runs absolute, so that processes with another working directory find them."""
    distill = document.get("distill")
    for section, key in ((document, "start"), (distill if isinstance(distill, CommentedMap) else {}, "teacher")):
        if isinstance(section.get(key), str):
            section[key] = str(Path(section[key]).resolve())


def _models(unresolved: Unresolved) -> list[str]:
    model = tune_nodes(unresolved).get("model")
    if model is None:
        return [unresolved.document.get("model")]
    return model.tune if isinstance(model.tune, list) else []


def _value(node: TuneNode, proposed: Any) -> Any:
    """Return a plain Python value within the node's range.

    Oracles propose NumPy numbers, and may round them out of the range.
    """
    if isinstance(node.tune, list):
        return node.tune[int(proposed)]
    kind = int if node.whole else float
    return kind(min(max(proposed, node.tune.min), node.tune.max))


def _extremes(node: TuneNode) -> Iterator[Any]:
    if isinstance(node.tune, Range):
        yield from (node.tune.min, node.tune.max)
    else:
        yield from node.tune


def _register(space: HyperParameters, path: str, node: TuneNode) -> None:
    tune = node.tune
    if isinstance(tune, Range):
        step = tune.step if tune.step is not None else (1 if node.whole and tune.sampling == "linear" else None)
        kind = space.Int if node.whole else space.Float
        kind(path, tune.min, tune.max, step=step, sampling=tune.sampling, default=node.default)
    else:
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in tune)
        space.Choice(path, list(range(len(tune))), ordered=numbers, default=tune.index(node.default))
