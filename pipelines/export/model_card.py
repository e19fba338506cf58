"""Write the model card of an export: its use, data, metrics, limits and training.

Follows Mitchell et al., Model Cards for Model Reporting (2019).
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.export.parity import DEFAULT
from pipelines.extensions import find_builder
from pipelines.operating_point import OperatingPoint
from pipelines.runs.run import Run
from pipelines.trained_model import TrainedModel

SHOWN_CHARACTERS = 300  # longer texts of the data source, such as a citation, are cut
NOT_STATED = "not stated by the source; check it before you share the model"


def model_card(trained: TrainedModel, run: Run, parity: Mapping[str, Any], point: OperatingPoint | None = None) -> str:
    """Return a model card in Markdown, from a finished run and the parity result of its export.

    `point` is the export's operating point, if it differs from the run's.
    """
    sections = {
        "Description": _task(trained),
        "Data": _data(run.data()),
        "Metrics": _metrics(run.metrics(), point),
        "Limitations": _limits(trained, run.data()),
        "Training": _making(trained, run),
        "Parity with the run": _parity(parity),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {trained.config.task}: {trained.config.model}\n\n{body}\n"


def _task(trained: TrainedModel) -> str:
    lines = [_first_line(trained.task), ""]
    for name, endpoint in trained.endpoints.items():
        lines.append(f"Inputs of signature `{DEFAULT if name == 'serve' else name}`, for each example:\n")
        lines += [f"- `{key}`: {spec.dtype.name}{_shape(spec.shape)}" for key, spec in endpoint.signature.items()]
        lines.append("")
    return "\n".join(lines).rstrip()


def _data(data: Mapping[str, Any]) -> str:
    origin = {"licence": NOT_STATED, **data["origin"]}
    lines = [f"- {_cell(key)}: {_cell(value)}" for key, value in {**data["source"], **origin}.items()]
    lines += [f"- split: {', '.join(f'{key} {value}' for key, value in data['split'].items())}"]
    lines += [f"- skipped examples: {data['skipped']['count']:,}", ""]
    rows = [(split, f"{count:,}", data["fingerprint"][split]) for split, count in data["examples"].items()]
    return "\n".join([*lines, _table(("split", "examples", "fingerprint"), rows)])


def _metrics(metrics: Mapping[str, Mapping[str, float]], point: OperatingPoint | None) -> str:
    names = dict.fromkeys(name for scores in metrics.values() for name in scores)
    rows = [(name, *(_number(scores[name]) if name in scores else "" for scores in metrics.values())) for name in names]
    intro = "The model is from the epoch with the best validation result."
    if point:
        intro += f" The metrics are for the threshold of the run; this export has the threshold **{point}**."
    return f"{intro}\n\n{_table(('metric', *metrics), rows)}"


def _limits(trained: TrainedModel, data: Mapping[str, Any]) -> str:
    lines = [trained.task.limits]
    for where, count in data["duplicates_across_splits"].items():
        later, _, earlier = where.partition(" in ")
        if count:
            lines.append(
                f"- Examples of {later} that also occur in {earlier}: {count:,}."
                f" The metrics of {later} may be too optimistic."
            )
    return "\n".join(lines)


def _making(trained: TrainedModel, run: Run) -> str:
    environment, best = run.environment(), run.best_epoch()
    builder = find_builder(trained.task.models, trained.config.model)
    versions = ", ".join(f"{name} {number}" for name, number in environment["packages"].items() if number)
    lines = [
        f"- architecture: `{trained.config.model}`: {_first_line(builder)}",
        *_backbone(run.data()),
        *_other_runs(run.data()),
        f"- parameters: {trained.model.count_params():,}",
        f"- best epoch: {int(best['best_epoch'])} of {len(run.history())}, by {trained.config.training['monitor']}",
        f"- command: `{' '.join(environment['command'])}`",
        f"- environment: Python {environment['python']}, {environment['platform']}, CPU cores: {environment['cores']}",
        f"- packages: {versions}",
        "",
        "The full config, to train the model again:",
        "",
        f"```yaml\n{trained.config.to_yaml().rstrip()}\n```",
    ]
    return "\n".join(lines)


def _backbone(data: Mapping[str, Any]) -> list[str]:
    """Return a line about the published backbone that training started from, if any."""
    if "preset" not in data:
        return []
    about = {"licence": NOT_STATED, **{key: value for key, value in data["preset"].items() if value is not None}}
    stated = ", ".join(f"{key} {_cell(value)}" for key, value in about.items() if key != "preset")
    return [f"- pretrained backbone: `{about['preset']}`: {stated}. A backbone's licence also binds this export."]


def _other_runs(data: Mapping[str, Any]) -> list[str]:
    """Return a line for each run that this one is made from."""
    words = {"start": "started from the weights of", "teacher": "learned from the answers of"}
    return [
        f"- {verb} the run `{data[name]['run']}`, fingerprint {data[name]['fingerprint']}"
        for name, verb in words.items()
        if name in data
    ]


def _parity(parity: Mapping[str, Any]) -> str:
    if not parity["compared"]:
        return f"**Not compared**: {parity['reason']}. The export may make other predictions than the run's model."
    rows = [
        (form, signature, answer, *(f"{kind.replace('_', ' ')}: {apart:.2g}" for kind, apart in found.items()))
        for form, about in parity["formats"].items()
        for signature, entry in about["signatures"].items()
        for answer, found in entry["answers"].items()
    ]
    intro = (
        f"The run's model, and the export in a new process, predicted {parity['examples']:,} examples of the"
        f" {parity['split']} split. `parity.json` has the tolerances."
    )
    return f"{intro}\n\n{_table(('format', 'signature', 'output', 'difference'), rows)}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))


def _cell(value: Any) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _shape(shape: Any) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in shape[1:])
    return f", shape ({sizes})" if sizes else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
