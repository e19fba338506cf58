"""The command-line interface: each command parses its arguments, calls one function and prints the result."""

import functools
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pipelines import __version__
from pipelines.cli_runs import runs_group
from pipelines.cli_serve import serve
from pipelines.errors import UserError
from pipelines.export.formats import FORMATS
from pipelines.terminal import (
    answer_line,
    as_arguments,
    command_line,
    print_answers,
    print_findings,
    print_folds,
    print_json,
    print_metrics,
    print_summary,
    print_warnings,
    short_value,
    shortened,
    table,
    visible,
)
from pipelines.verbs import Group, as_json, verb

# of no use for finished runs
COMPARISON_OPTIONS = ("models", "seeds", "budget", "tune_trials", "ray", "comparison_dir", "resume")
NAME_CHARACTERS = 60  # longer input texts are cut in front of their prediction


def _check_configs(arguments: dict[str, Any]) -> bool:
    """Check every config, then read the data of the first one, unless a run or a search is resumed."""
    from pipelines.config.read import read_config
    from pipelines.preflight import check_against_schema, read_early

    configs = arguments["configs"] if "configs" in arguments else [arguments["config"]]
    checked = [check_against_schema(read_config(config, arguments["overrides"])) for config in configs]
    if any(each is not None and each.split.get("folds") for each in checked):
        from pipelines.tuning.pools import start_server

        start_server()
    if checked[0] is not None and not arguments.get("resume") and not arguments["verbose"]:
        read_early(checked[0])
    return False


def _start_training(arguments: dict[str, Any]) -> bool:
    """Check a config; with several processes, only these need TensorFlow."""
    from pipelines.config.read import read_config
    from pipelines.preflight import check_against_schema

    if arguments["processes"] == 1 and arguments["ray"] is None:
        return _check_configs(arguments)
    check_against_schema(read_config(arguments["config"], arguments["overrides"]))
    return True


def _start_audit(arguments: dict[str, Any]) -> bool:
    """Check the config, or what goes with an export in its place."""
    if not Path(arguments["config"]).is_dir():
        return _check_configs(arguments)
    if arguments["against"] is None:
        raise UserError(arguments["config"], "is a folder; an export is compared with new data, given by --against")
    if used := [name for name in ("overrides", "run", "fix") if arguments[name]]:
        option = "--set" if used[0] == "overrides" else f"--{used[0]}"
        raise UserError(option, "is of no use with an export; name a config")
    return False


def _start_trial_server(arguments: dict[str, Any]) -> bool:
    from pipelines.tuning.pools import start_server

    _check_configs(arguments)
    start_server()
    return False


def _start_comparison(arguments: dict[str, Any]) -> bool:
    """Check a config and start the server, unless finished runs are compared."""
    given = arguments["configs_or_runs"]
    if not _are_runs(given):
        _start_trial_server({**arguments, "config": given[0]})
    elif used := [name for name in ("overrides", *COMPARISON_OPTIONS) if arguments[name]]:
        option = f"--{used[0].replace('_', '-').replace('overrides', 'set')}"
        raise UserError(option, "is of no use to compare finished runs; name one config to train its models")
    return False


def _check_inspected(arguments: dict[str, Any]) -> bool:
    if not Path(arguments["config_or_run"]).is_dir():
        _check_configs({**arguments, "config": arguments["config_or_run"]})
    return False


FURTHER = ("tries", "curve", "batch_sizes")  # options of `diagnose` that train


def _start_further_trainings(arguments: dict[str, Any]) -> bool:
    from pipelines.tuning.pools import start_server

    if any(arguments[name] for name in FURTHER):
        start_server()
    return False


def _are_runs(given: tuple[str, ...]) -> bool:
    """Return whether these are finished runs, not one config.

    Raises:
        UserError: If they are neither.
    """
    folders = [Path(name).is_dir() for name in given]
    if folders == [False]:
        return False
    if not all(folders):
        raise UserError(given[folders.index(False)], "is not the folder of a run; give one config, or two or more runs")
    if len(given) < 2:
        raise UserError(given[0], "is a single run; give two or more runs to compare, or one config")
    return True


def _say(line: str) -> None:
    click.echo(visible(line), err=True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="keras-task-pipelines")
def main() -> None:
    """Train, evaluate, export and serve a Keras model from a config file.

    Start with `{program} tasks`, then `{program} config house_prices > my.yaml` and `{program} run my.yaml`.
    """


overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override one setting, such as model=tabm. Repeatable.",
)
PORT = click.IntRange(1, 65535)
POSITIVE = click.IntRange(1)
SECONDS = click.FloatRange(0, min_open=True)
threshold = click.option(
    "--threshold",
    metavar="NUMBER|RULE",
    help="Probability threshold for the positive class, instead of the config's. A number, or a rule that chooses it"
    " on the validation split: f1 (highest F1), recall=0.9 (highest precision with at least this recall), precision=0.9"
    " (highest recall with at least this precision), or cost=1:10 (lowest total cost, with these costs of a false"
    " positive and a false negative).",
)


@main.command()
@click.argument("config", metavar="CONFIG|EXPORT")
@overrides
@click.option(
    "--run",
    metavar="RUN",
    help="Finished run on the same data. Validation and test labels are checked with its predictions.",
)
@click.option("--against", metavar="FILE", help="New data of the same format, to compare with the training split.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="KINDS",
    help="Exit with code 1 if there are findings of these kinds: names of kinds, duplicates, labels, columns, leakage,"
    " shift, or all, separated by commas. Repeatable.",
)
@click.option("--fix", is_flag=True, help="Write a config without the problematic examples and columns.")
@click.option("--audit-dir", metavar="DIR", help="Folder of the audit. Default: audits/TASK/TIME.")
@as_json
@functools.partial(verb, before_tensorflow=_start_audit)
def audit(
    config: str,
    overrides: tuple[str, ...],
    run: str | None,
    against: str | None,
    fail_on: tuple[str, ...],
    fix: bool,
    audit_dir: str | None,
    as_json: bool,
) -> None:
    """Check the data of CONFIG for duplicates, leakage, label errors and distribution shift.

    Given an EXPORT, compare new data with its training data, of which it has summary statistics. Rows count from 0.

    Example: {program} audit my.yaml --fix --fail-on leakage,duplicate_across_splits

    Example: {program} audit exports/house_prices --against new.csv
    """
    if against is not None and Path(config).is_dir():
        from pipelines.commands.audit_export import audit_export

        audited = audit_export(config, against, fail_on, audit_dir)
    else:
        from pipelines.commands.audit import audit as audit_config

        audited = audit_config(config, overrides, run, against, fail_on, fix, audit_dir, print_summary)
    if as_json:
        print_json(audited.record)
    else:
        print_findings(audited.audit.findings, audited.audit.notes)
        click.echo(f"audit   {audited.folder}")
        if audited.config is not None:
            click.echo(f"config  {audited.config}  (train it: {command_line('train', audited.config)})")
    if audited.failing:
        found = ", ".join(f"{kind} ({count:,})" for kind, count in audited.failing.items())
        click.echo(f"failed: {found}", err=True)
        sys.exit(1)


@main.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@overrides
@functools.partial(verb, before_tensorflow=_check_configs)
def run(configs: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Train, evaluate and export the model of each CONFIG, then show a few predictions.

    Example: {program} run house_prices
    """
    from pipelines.commands.run import run as run_config
    from pipelines.config.load import load_config
    from pipelines.extensions import loaded_code

    checked = [load_config(config, overrides) for config in configs]  # check every config before the first training
    for name, config in zip(configs, checked, strict=True):
        click.echo(f"{name}: training", err=True)
        finished = run_config(config, print_summary, _say)
        print_metrics(finished.run.metrics())
        print_folds(finished.run)
        print_answers(finished.inputs, finished.targets, finished.answers)
        print_warnings(finished.run.warnings())
        click.echo(f"run     {finished.run.folder}\nreport  {finished.run.page}\nexport  {finished.export}")
        code = [part for path in loaded_code() for part in ("--code", path)] if "." in config.task else []
        click.echo(f"try     {command_line('predict', *code, finished.export, *as_arguments(finished.inputs[0]))}")
        click.echo(f"serve   {command_line('serve', finished.export.parent)}")


@main.command()
@click.argument("config")
@overrides
@click.option("--run-dir", metavar="DIR", help="Folder of the run. Default: runs/TASK/TIME.")
@click.option("--resume", is_flag=True, help="Resume the run in --run-dir, or the newest unfinished run.")
@click.option(
    "--processes",
    type=POSITIVE,
    default=1,
    show_default=True,
    metavar="N",
    help="Divide each mini-batch among N processes of this machine, which share its GPUs or cores, or of --ray.",
)
@click.option("--ray", metavar="ADDRESS", help="Train on the Ray cluster at this address, or `auto`.")
@functools.partial(verb, before_tensorflow=_start_training)
def train(
    config: str, overrides: tuple[str, ...], run_dir: str | None, resume: bool, processes: int, ray: str | None
) -> None:
    """Train the model of CONFIG and evaluate it on every split.

    Example: {program} train house_prices --set model=tabm --set optimizer.learning_rate=3.0e-4
    """
    if ray is not None:
        from pipelines.training.ray_workers import train_on_ray

        finished = train_on_ray(ray, processes, config, overrides, run_dir, resume, print_summary, _say)
    elif processes > 1:
        from pipelines.training.workers import train_in_processes

        finished = train_in_processes(processes, config, overrides, run_dir, resume, print_summary, _say)
    else:
        from pipelines.commands.train import train as train_config

        _, finished = train_config(config, overrides, run_dir, resume, print_summary, _say)
    print_metrics(finished.metrics())
    print_folds(finished)
    print_warnings(finished.warnings())
    click.echo(f"run     {finished.folder}\nreport  {finished.page}")


@main.command()
@click.argument("config")
@overrides
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of parallel trials.")
@click.option("--ray", metavar="ADDRESS", help="Run the trials on the Ray cluster at this address, or `auto`.")
@click.option("--search-dir", metavar="DIR", help="Folder of the search. Default: searches/TASK/TIME.")
@click.option("--resume", is_flag=True, help="Resume the search in --search-dir, or the newest search.")
@functools.partial(verb, before_tensorflow=_start_trial_server)
def tune(
    config: str, overrides: tuple[str, ...], workers: int, ray: str | None, search_dir: str | None, resume: bool
) -> None:
    """Search the hyperparameters that CONFIG marks with `tune` for the best objective.

    Example: {program} tune house_prices --workers 2 --set tuning.max_trials=20
    """
    from pipelines.commands.tune import tune as tune_config
    from pipelines.tuning.display import Display

    with Display() as display:
        search = tune_config(config, overrides, workers, ray, search_dir, resume, display.show, display.say)
    folder = search.folder
    if search.ranked:
        best = search.ranked[0]
        click.echo(
            f"best    {search.objective} {short_value(best.score)} in trial {best.number}: {display.values(best)}"
        )
        click.echo(f"config  {folder.best}  (train it: {command_line('run', folder.best)})")
    click.echo(f"trials  {folder.table}\nreport  {folder.page}")


@main.command()
@click.argument("configs_or_runs", nargs=-1, required=True, metavar="CONFIG|RUN...")
@overrides
@click.option(
    "--models",
    metavar="NAMES",
    help="Models to train, such as mlp,tabm. With + before each name: these in addition to the default, which is"
    " all models except pretrained.",
)
@click.option("--seeds", type=click.IntRange(1), help="Number of trainings of each model. Default: 5.")
@click.option("--budget", metavar="TIME|EPOCHS", help="Limit of each training, such as 90s, 5m, 1h or 20 (epochs).")
@click.option(
    "--tune-trials",
    type=click.IntRange(0),
    default=0,
    metavar="K",
    help="Search the hyperparameters of each model first, with K trials.",
)
@click.option("--test", is_flag=True, help="Evaluate the test split too, at the end and once per run.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of parallel trainings.")
@click.option("--ray", metavar="ADDRESS", help="Train on the Ray cluster at this address, or `auto`.")
@click.option("--comparison-dir", metavar="DIR", help="Folder to write to. Default: comparisons/TASK/TIME.")
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the comparison in --comparison-dir, or the newest one. It may get more seeds and models.",
)
@functools.partial(verb, before_tensorflow=_start_comparison)
def compare(configs_or_runs: tuple[str, ...], test: bool, **options: Any) -> None:
    """Compare the models of CONFIG, each trained with several seeds, or finished RUNs on the same examples.

    It reports which models are significantly worse than the best one, and how many seeds the others would need.
    Finished runs are compared on their validation split, or with --test on their test split.

    Example: {program} compare house_prices --seeds 3 --budget 2m

    Example: {program} compare runs/house_prices/2026-01-31T12-00-00 runs/house_prices/2026-02-01T12-00-00
    """
    from pipelines.commands.compare import compare as compare_models
    from pipelines.comparison.runs import compare_runs
    from pipelines.comparison.shown import print_compared, print_results
    from pipelines.tuning.display import Display

    if _are_runs(configs_or_runs):
        print_compared(compare_runs(configs_or_runs, "test" if test else "validation"))
        return
    with Display() as display:
        (config,) = configs_or_runs
        results = compare_models(config, test=test, shown=display.show, say=display.say, **options)
    print_results(results)


@main.command()
@click.argument("run")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@threshold
@as_json
@verb
def evaluate(run: str, split: str, threshold: str | None, as_json: bool) -> None:
    """Evaluate a finished RUN on one split, with metrics per class if the task has classes.

    Updates report/index.html.

    Example: {program} evaluate runs/house_prices/2026-01-31T12-00-00 --split validation
    """
    from pipelines.commands.evaluate import evaluate as evaluate_run

    measured = evaluate_run(run, split, threshold)
    point, by_class = measured.point, measured.by_class
    if as_json:
        classes = {"by_class": by_class.to_dict("index")} if len(by_class) else {}
        chosen = {"threshold": point.record()} if point else {}
        print_json({split: measured.metrics, **classes, **chosen})
        return
    of_all = {name: value for name, value in measured.metrics.items() if by_class.empty or "." not in name}
    print_metrics({split: of_all})
    if len(by_class):
        rows = [[str(name), *map(short_value, figures)] for name, *figures in by_class.itertuples()]
        Console().print(table([f"class in {split}", *by_class.columns], rows))
    if point:
        click.echo(f"threshold {point}")


@main.command()
@click.argument("run")
@click.option(
    "--human",
    type=float,
    metavar="ERROR",
    help="Human-level or best known error, such as 0.01. Default: 0 if the metric has a perfect value; otherwise bias"
    " is not measured.",
)
@click.option(
    "--try",
    "tries",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Train the first N steps and the run's own config with several seeds, and say which helped.",
)
@click.option(
    "--curve",
    is_flag=True,
    help="Train with five sizes of the training data, and estimate the error with twice the data.",
)
@click.option(
    "--batch-sizes",
    is_flag=True,
    help="Train with mini-batches of half, twice and four times the size, and say which learns most per second.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Number of trainings of each step and of each size.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of parallel trainings.")
@as_json
@functools.partial(verb, before_tensorflow=_start_further_trainings)
def diagnose(run: str, human: float | None, as_json: bool, **options: Any) -> None:
    """Say whether the model of a finished RUN has high bias, high variance or a data mismatch, and what to do next.

    Updates report/index.html. Trainings that were interrupted continue when the same command is typed again.

    Example: {program} diagnose runs/cat_classifier/2026-01-31T12-00-00 --human 0.01
    """
    from pipelines.commands.diagnose import Further
    from pipelines.commands.diagnose import diagnose as diagnose_run
    from pipelines.diagnosis.shown import print_diagnosis, print_trained
    from pipelines.extensions import loaded_code
    from pipelines.tuning.display import Display

    further = Further(**options)
    show = functools.partial(print_diagnosis, code=loaded_code())
    if as_json or not further.wanted:
        found = diagnose_run(run, human, further)
        print_json(found.record()) if as_json else show(found)
        return
    with Display() as display:
        print_trained(diagnose_run(run, human, further, found=show, shown=display.show))


@main.command()
@click.argument("config")
@overrides
@click.option("--processes", type=POSITIVE, metavar="N", help="Processes that the files are divided among.")
@click.option("--ray", metavar="ADDRESS", help="Run the processes on the Ray cluster at this address, or `auto`.")
@click.option("--beam-runner", metavar="NAME", help="Runner of Apache Beam, such as DirectRunner or FlinkRunner.")
@click.option(
    "--beam-option", "beam_options", multiple=True, metavar="OPTION", help="Option of the runner. Repeatable."
)
@verb
def prepare(
    config: str,
    overrides: tuple[str, ...],
    processes: int | None,
    ray: str | None,
    beam_runner: str | None,
    beam_options: tuple[str, ...],
) -> None:
    """Convert the data of CONFIG that is larger than memory, once, before it is trained on.

    Without this command, the first training converts it, in one process. The files are divided among the processes of
    this machine (by default one for each core), of a Ray cluster, or of a Beam runner.

    Example: {program} prepare my_pairs.yaml --processes 8
    """
    from pipelines.commands.prepare import prepare as prepare_data

    done = prepare_data(config, overrides, processes, ray, beam_runner, beam_options)
    counts = ", ".join(f"{name} {count:,}" for name, count in done.examples.items())
    click.echo(f"examples  {counts}")
    click.echo(
        "memory    the data is small, so it is read into memory" if done.folder is None else f"data      {done.folder}"
    )


@main.command()
@click.argument("config_or_run", metavar="CONFIG|RUN")
@overrides
@click.option(
    "--row", type=POSITIVE, default=1, show_default=True, help="Row of the test split to show, counted from 1."
)
@as_json
@functools.partial(verb, before_tensorflow=_check_inspected)
def inspect(config_or_run: str, overrides: tuple[str, ...], row: int, as_json: bool) -> None:
    """Show the layers, shapes, parameters and multiply-adds of a model, and one example after preprocessing.

    The model of a config is built, but not trained. Multiply-adds are those of one example, in the forward pass.

    Example: {program} inspect cat_classifier --set model=cnn
    """
    from pipelines.commands.inspect import inspect as inspect_model
    from pipelines.inspection.shown import print_inspection

    found = inspect_model(config_or_run, overrides, row)
    print_json(found.record()) if as_json else print_inspection(found)


@main.command()
@click.argument("run_or_export")
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@click.option("--file", metavar="FILE", help="File with inputs to predict, such as the rows of a CSV file.")
@click.option("--attention", is_flag=True, help="Print the attention weights of a run's model, if it has attention.")
@click.option(
    "--output", metavar="FILE", help="Write the inputs' names and the predictions to a .csv, .json or .jsonl file."
)
@click.option(
    "--allow-missing", is_flag=True, help="Treat a left-out column as a missing value, even if training always had it."
)
@as_json
@verb
def predict(
    run_or_export: str,
    inputs: tuple[str, ...],
    file: str | None,
    attention: bool,
    output: str | None,
    allow_missing: bool,
    as_json: bool,
) -> None:
    """Predict raw inputs with a finished run or an export.

    Example: {program} predict exports/house_prices '{"area": 1500, "Overall_Qual": 7}' --allow-missing
    """
    from pipelines.commands.predict import check_output, write_answers
    from pipelines.commands.predict import predict as predict_inputs
    from pipelines.text.attention_maps import write_attention

    if output is not None:
        check_output(Path(output), inputs, file)
    answers = predict_inputs(run_or_export, inputs, file, attention, allow_missing)
    if output is not None:
        write_answers(Path(output), answers)
    if as_json:
        print_json(answers.records)
    elif attention:
        click.echo("\n\n".join(write_attention(**answer) for answer in answers.records))
    elif output is None:
        for name, answer in zip(answers.names, answers.records, strict=True):
            given = name in inputs and not os.path.exists(name)  # noqa: PTH110 - Path.exists raises on long strings
            click.echo(f"{visible(shortened(name, NAME_CHARACTERS) if given else name)}: {answer_line(answer)}")
    else:
        count = len(answers.records)
        click.echo(f"wrote {count:,} prediction{'s' * (count != 1)} to {output}")


@main.command()
@click.argument("run")
@click.option("--to", metavar="DIR", help="Folder to write the new version to. Default: exports/TASK.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    default=["saved_model"],
    show_default=True,
    help="Format to write. onnx and litert add model.onnx and model.tflite to the SavedModel, if the task can work with"
    " numeric inputs only; numbers.json describes these inputs. Repeatable.",
)
@click.option(
    "--unchecked",
    is_flag=True,
    help="Skip the parity check, such as when the data is no longer available. The model card says so.",
)
@threshold
@verb
def export(run: str, to: str | None, formats: tuple[str, ...], unchecked: bool, threshold: str | None) -> None:
    """Write a finished RUN's model as a versioned SavedModel, with a model card.

    The exported model predicts test examples in a separate process. If its predictions differ from the run's by
    more than a tolerance, no export is written. parity.json records what was compared.

    Example: {program} export runs/house_prices/2026-01-31T12-00-00 --to exports/ames
    """
    from pipelines.commands.export import export as export_run

    version, point = export_run(run, to, formats, unchecked, threshold)
    if point:
        click.echo(f"threshold {point}", err=True)
    click.echo(version)


@main.command()
@click.argument("task", required=False)
@functools.partial(verb, before_tensorflow=lambda arguments: True)
def tasks(task: str | None) -> None:
    """List the tasks, or the models of one TASK with their hyperparameters.

    Example: {program} tasks house_prices
    """
    from pipelines.tasks import TASKS

    if task is None:
        for name, about in TASKS.items():
            click.echo(f"{name}: {about}")
        return
    from pipelines.commands.tasks import models

    for name, model in models(task).items():
        click.echo(f"{name}: {model['about']}")
        for setting, leaf in model["hyperparameters"].items():
            click.echo(f"    {setting} ({leaf['takes']}): {leaf['means']}")


@main.command()
@click.argument("task_or_config", metavar="TASK|CONFIG|serve", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the config instead, for editors.")
@click.option("--minimal", is_flag=True, help="Print a short config; all other settings keep their defaults.")
@click.option("--from", "data", metavar="DATA", help="Print a config for the data in this file or folder.")
@functools.partial(verb, before_tensorflow=lambda arguments: True)
def config(task_or_config: str | None, schema: bool, minimal: bool, data: str | None) -> None:
    """Print a TASK's commented config, or check CONFIG and print it with its `tune` nodes resolved.

    `config serve` prints the config of a server.

    Example: {program} config house_prices > my.yaml

    Example: {program} config --from houses.csv > my.yaml
    """
    from pipelines.commands.config import config as print_config

    click.echo(print_config(task_or_config, schema, minimal, data), nl=False)


main.add_command(serve)
main.add_command(runs_group)
