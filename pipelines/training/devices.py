"""Choose the devices that training runs on, and let the workers of a cluster talk to each other."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import ConfigDict, Field, with_config
from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
    expand_hostlist,
    expand_tasks_per_node,
)
from typing_extensions import TypedDict  # pydantic needs Python 3.12 for the standard one

from pipelines.errors import UserError, counted

STRATEGY, COUNT = "training.devices.strategy", "training.devices.count"
FIRST_PORT, PORTS = 20_000, 10_000  # of the workers of a Slurm job; its number chooses one of these


@with_config(ConfigDict(extra="forbid", strict=True))
class DeviceSettings(TypedDict, total=False):
    """The devices that a mini-batch is divided among."""

    strategy: Annotated[
        Literal["auto", "one", "mirrored", "multi_worker"],
        Field(
            description="one: a single device; mirrored: several devices of this machine; multi_worker: those of all"
            " processes in TF_CONFIG or of a Slurm job; auto: multi_worker if there are several processes, else"
            " mirrored if there are several GPUs, else one"
        ),
    ]
    count: Annotated[
        int | None,
        Field(
            ge=1,
            description="number of devices to use on each machine; null: all GPUs. Without GPUs, the processor is"
            " divided into as many devices",
        ),
    ]


ANY_DEVICES: DeviceSettings = {"strategy": "auto", "count": None}


class _Mirrored(tf.distribute.MirroredStrategy):
    num_replicas_in_sync = 1  # Keras would divide losses by it, but not those of every model; they are weighed here


class _MultiWorker(tf.distribute.MultiWorkerMirroredStrategy):
    num_replicas_in_sync = 1


class Lost(UserError):
    """Another worker of the cluster has ended, so that training cannot go on."""


@dataclass(frozen=True)
class Devices:
    """The devices of a training. By default, it is one device, and Keras chooses it.

    Each of the `workers`, which are processes, has the same number of devices. Only the `chief` validates and writes.
    """

    strategy: tf.distribute.Strategy | None = None
    workers: int = 1
    chief: bool = True

    @property
    def replicas(self) -> int:
        """Number of devices of all workers."""
        return 1 if self.strategy is None else self.workers * len(self.strategy.extended.worker_devices)

    def describe(self) -> dict[str, Any]:
        """Return the strategy, the numbers of workers and replicas, and the kind of their devices."""
        name = "multi_worker" if self.workers > 1 else "one" if self.strategy is None else "mirrored"
        gpus = tf.config.get_visible_devices("GPU")
        kind = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
        return {"strategy": name, "workers": self.workers, "replicas": self.replicas, "device": kind}

    def from_chief(self, *numbers: float) -> list[float]:
        """Return the numbers that the chief calls this with. All workers call it, and wait for each other."""
        return list(numbers) if self.workers == 1 else self._sums(np.array(numbers, "float64")).tolist()

    def part(self) -> None:
        """Let all workers end, once the chief calls this too. Those that have already ended do not matter."""
        with suppress(Lost):
            self.from_chief(0)

    def share(self, variables: Sequence[keras.Variable]) -> None:
        """Give the variables of all workers the values that those of the chief have."""
        weights = [variable for variable in variables if variable.dtype == "float32"]
        counts = [variable for variable in variables if variable.dtype != "float32"]  # and states of random generators
        for some, kind in ((weights, "float32"), (counts, "float64")):
            if some and self.workers > 1:
                values = [np.asarray(variable.numpy(), kind) for variable in some]
                shared = self._sums(np.concatenate([each.ravel() for each in values]))
                for variable, value in zip(
                    some, np.split(shared, np.cumsum([each.size for each in values])[:-1]), strict=True
                ):
                    variable.assign(value.reshape(variable.shape).astype(variable.dtype))

    def check_same(self, fingerprints: Mapping[str, str]) -> None:
        """Check that all workers have read the same data.

        Raises:
            UserError: In a worker whose data is not that of the chief.
        """
        digest = hashlib.sha256(json.dumps(fingerprints, sort_keys=True).encode()).hexdigest()
        own = float(int(digest[:12], 16))  # as many digits as a float holds
        if self.from_chief(own) != [own]:
            raise UserError("data", "this worker has read other examples than the chief; give all the same files")

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the chief, as sums over all replicas: others have zeros."""
        assert self.strategy is not None
        with worker_loss():
            return _summed(self.strategy, tf.constant(values), tf.constant(self.chief)).numpy()


ONE_DEVICE = Devices()


@contextmanager
def worker_loss() -> Iterator[None]:
    """Raise `Lost` in place of the errors of TensorFlow that say that another worker has ended.

    Raises:
        Lost: If another worker has ended, or cannot be reached.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        reason = "another worker has ended or cannot be reached"
        raise Lost("training.devices", f"{reason}; start all workers again, with --resume") from error


@tf.function(autograph=False)
def _summed(strategy: tf.distribute.Strategy, values: tf.Tensor, chief: tf.Tensor) -> tf.Tensor:
    def replica() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % len(strategy.extended.worker_devices) == 0
        own = tf.where(tf.logical_and(chief, first), values, tf.zeros_like(values))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    return strategy.experimental_local_results(strategy.run(replica))[0]


def connect(strategy: str = "auto", count: int | None = None) -> Devices:
    """Return the devices of the settings `training.devices`. A worker of a cluster connects to the others.

    This must come before anything else that TensorFlow computes in this process.

    Raises:
        UserError: If the devices or the workers are not there.
    """
    resolver, workers = _cluster(), cluster_size()
    if workers > 1:
        if strategy in ("one", "mirrored"):
            problem = f"is {strategy}, but TF_CONFIG or Slurm names {workers} processes"
            raise UserError(STRATEGY, f"{problem}; use auto or multi_worker, or start one process")
        _visible(count)
        return _join(resolver, workers)
    if strategy == "multi_worker":
        how = "start it with --processes, with TF_CONFIG in the environment of each process, or with srun"
        raise UserError(STRATEGY, f"is multi_worker, but this process is the only one; {how}")
    names = [] if strategy == "one" else _visible(count)
    if strategy == "mirrored" and len(names) < 2:
        problem = f"is mirrored, but there is one device ({names[0]})"
        raise UserError(STRATEGY, f"{problem}; set {COUNT} to divide the processor, or use auto")
    return Devices(_mirror(tuple(names))) if len(names) > 1 else Devices()


def cluster_size() -> int:
    """Return the number of processes that train together, by TF_CONFIG or Slurm; 0: this one is alone.

    Raises:
        UserError: If TF_CONFIG cannot be used.
    """
    resolver = _cluster()
    return 0 if resolver is None else sum(map(len, resolver.cluster_spec().as_dict().values()))


def take_gpus(number: int, workers: int) -> None:
    """Let a worker use its share of the GPUs of this machine, which all `workers` are on.

    Raises:
        UserError: If there are fewer GPUs than workers.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < workers:
        raise UserError("--processes", f"is {workers}, but this machine has {counted(len(gpus), 'GPU')}")
    if gpus:
        each = len(gpus) // workers
        tf.config.set_visible_devices(gpus[number * each : (number + 1) * each], "GPU")


def _visible(count: int | None) -> list[str]:
    """Make `count` devices visible, and return their names.

    Raises:
        UserError: If there are fewer GPUs, or TensorFlow already uses other devices.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if gpus and count is not None and count > len(gpus):
        raise UserError(COUNT, f"is {count}, but this machine has {counted(len(gpus), 'GPU')}")
    try:
        if gpus:
            tf.config.set_visible_devices(gpus[:count], "GPU")
        elif count is not None and count > 1:
            (processor, *_) = tf.config.list_physical_devices("CPU")
            if len(tf.config.get_logical_device_configuration(processor) or ()) != count:
                parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
                tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError:
        raise UserError(COUNT, "cannot change after TensorFlow has used a device; start a new process") from None
    kind = "GPU" if gpus else "CPU"
    return [f"{kind}:{at}" for at in range(len(gpus[:count]) if gpus else count or 1)]


def _cluster() -> Any:
    """Return the cluster of this process by TF_CONFIG or Slurm, or None if it is alone.

    Raises:
        UserError: If TF_CONFIG cannot be used.
    """
    resolvers = tf.distribute.cluster_resolver
    if "TF_CONFIG" in os.environ:
        try:
            config = json.loads(os.environ["TF_CONFIG"])
            jobs, task = config["cluster"], (config["task"]["type"], int(config["task"]["index"]))
        except (ValueError, KeyError, TypeError) as error:
            example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
            raise UserError("TF_CONFIG", f"cannot be read ({error!r}); write for example {example}") from None
        if odd := sorted({*jobs, task[0]} - {"chief", "worker"}):
            raise UserError("TF_CONFIG", f"has the job {odd[0]}; all processes train, so name them chief and worker")
        if not 0 <= task[1] < len(jobs.get(task[0], ())):
            raise UserError("TF_CONFIG", f"has no {task[0]} with the index {task[1]} in its cluster")
        return resolvers.TFConfigClusterResolver()
    return _slurm(os.environ) if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 else None


def _slurm(variables: Mapping[str, str]) -> Any:
    """Return the cluster of the tasks of a job step.

    `SlurmClusterResolver` sorts the hosts by name. So its addresses are not those of the tasks if there is a node10
    besides a node2.
    """
    hosts = expand_hostlist(variables["SLURM_STEP_NODELIST"])
    counts = expand_tasks_per_node(variables["SLURM_STEP_TASKS_PER_NODE"])
    first = FIRST_PORT + int(variables["SLURM_JOB_ID"]) % PORTS
    addresses = [f"{host}:{first + at}" for host, count in zip(hosts, counts, strict=True) for at in range(count)]
    spec = tf.train.ClusterSpec({"worker": addresses})
    task = {"task_type": "worker", "task_id": int(variables["SLURM_PROCID"])}
    return tf.distribute.cluster_resolver.SimpleClusterResolver(spec, rpc_layer="grpc", **task)


@cache  # a second strategy would confuse its messages between the devices with those of the first
def _mirror(names: tuple[str, ...]) -> tf.distribute.Strategy:
    return _Mirrored(names)


@cache  # a process can join a cluster only once
def _join(resolver: Any, workers: int) -> Devices:
    try:
        strategy = _MultiWorker(cluster_resolver=resolver)
    except RuntimeError as error:
        raise UserError(STRATEGY, f"this process cannot join the others: {str(error).splitlines()[0]}") from None
    own = resolver.task_type, resolver.task_id
    chief = own == (("chief", 0) if "chief" in resolver.cluster_spec().as_dict() else ("worker", 0))
    return Devices(strategy, workers, chief)
