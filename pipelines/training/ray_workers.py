"""Train one config in processes of a Ray cluster, with Ray Train; nothing in this module needs TensorFlow."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.runs.run import Run
from pipelines.training.workers import RESTARTS, Training, chosen_folder
from pipelines.tuning.pools import connect_to_ray, print_to

# Ray's worker imports TensorFlow before our code runs, so what `import_tensorflow` sets must be there already.
VARIABLES = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def train_on_ray(
    address: str,
    count: int,
    config: str | Path,
    overrides: Sequence[str],
    run_dir: str | Path | None,
    resume: bool,
    show: Callable[[Any], None],
    say: Callable[[str], None],
) -> Run:
    """Train in `count` worker processes of a Ray cluster, whose machines share the files; return the finished run.

    If the cluster has GPUs, each worker gets one. If a worker or its machine is lost, Ray starts all workers again,
    and training goes on from the last checkpoint. `show` and `say` must be functions of a module.

    Raises:
        UserError: If Ray cannot be used, a worker raises one, or workers are lost again and again.
    """
    with chosen_folder(config, overrides, run_dir, resume) as folder:
        path = Path(config).absolute() if Path(config).exists() else config
        training = Training(path, overrides, folder.absolute(), resume, show, say, loaded_code())
        ray = connect_to_ray(
            address, count, {**VARIABLES, **{key: os.environ[key] for key in VARIABLES if key in os.environ}}
        )
        try:
            _fit(ray, count, training)
        finally:
            ray.shutdown()
        return Run(folder)


def _fit(ray: Any, count: int, training: Training) -> None:
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow()  # as Ray's trainer does, with all startup messages
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as error:
        raise UserError("--ray", f"{str(error).splitlines()[0]}; install them with: pip install 'ray[train]'") from None

    gpus = ray.cluster_resources().get("GPU", 0) >= 1
    faults = ray.remote(_Faults).remote()
    # Ray Train wants a folder that all machines share, for checkpoints that it does not get here.
    storage = training.folder.with_name(f".{training.folder.name}.ray")
    trainer = TensorflowTrainer(
        _work,
        train_loop_config={
            "training": training,
            "began": Run(training.folder).started,
            "place": Path.cwd(),
            "command": sys.argv,
            "faults": faults,
        },
        scaling_config=ScalingConfig(num_workers=count, use_gpu=gpus),
        run_config=RunConfig(storage_path=str(storage), failure_config=FailureConfig(max_failures=RESTARTS)),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        lost = [each for each in error.worker_failures.values() if isinstance(each, ray.exceptions.RayError)]
        if not lost:
            raise
        reason = str(lost[0]).strip().splitlines()[0]
        on = Run(training.folder).going_on
        raise UserError(
            "--ray", f"a worker was lost ({reason}), after {RESTARTS} restarts; continue with: {on}"
        ) from None
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if told := ray.get(faults.first.remote()):
        raise UserError(*told)


class _Faults:
    """An actor that keeps the first mistake of the user that a worker found, so that no restart repeats it."""

    def __init__(self) -> None:
        self.found: tuple[str, ...] | None = None

    def tell(self, *parts: str) -> None:
        self.found = self.found or parts

    def first(self) -> tuple[str, ...] | None:
        return self.found


def _work(given: dict[str, Any]) -> None:
    """Be a worker: train, and tell the process that started it of a `UserError`."""
    import ray

    training, faults = given["training"], given["faults"]
    if ray.get(faults.first.remote()):
        return
    if Path(given["place"]).is_dir():
        os.chdir(given["place"])  # relative paths in the config are meant from there
    sys.argv = given["command"]  # which the run's environment.json notes
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if ray.train.get_context().get_world_rank():
        print_to(Path(os.devnull))
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow()
    from pipelines.commands.train import train
    from pipelines.extensions import load_code
    from pipelines.training.devices import Lost
    from pipelines.verbs import warnings_shown

    started = Run(training.folder).started and not given["began"]  # by workers that were lost
    try:
        with warnings_shown():
            load_code(training.code)
            train(*training._replace(resume=training.resume or started)[:-1])
    except Lost:
        raise
    except UserError as error:
        ray.get(faults.tell.remote(error.where, *error.problems))
    except SystemExit:  # how a worker that is not the chief ends
        pass
