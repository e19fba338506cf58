"""The process that takes the training steps of a run on JAX. It uses TensorFlow for nothing but to read the config."""

import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import UserError
from pipelines.tensorflow_startup import import_tensorflow

if TYPE_CHECKING:
    from pipelines.config.load import Config
    from pipelines.training.jax_step import JaxStep


class Recipe(NamedTuple):
    """What the process needs to build the model and its optimizer."""

    code: list[str]  # files with the user's models and tasks
    config: bytes  # pickled, because it must not be read before TensorFlow is imported
    preprocessor: dict[str, Any]  # its state
    weights: Path  # file of the initial weights
    steps_per_epoch: int


def work(connection: Connection) -> None:
    """Take training steps as the other process says, until it closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process says so
    try:
        steps = _prepare(connection.recv())
        while True:
            what, given = connection.recv()
            if what == "batch":
                steps.take(given)
            elif what == "assign":
                steps.values = given
            elif what == "device":
                connection.send((what, steps.device))
            else:
                connection.send(("values", steps.values))
    except EOFError:
        return
    except UserError as error:
        connection.send(("mistake", (error.where, *error.problems)))
    except Exception:
        connection.send(("bug", traceback.format_exc()))


def _prepare(recipe: Recipe) -> "JaxStep":
    import_tensorflow(backend="jax")
    import pickle

    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # JAX has them
    from pipelines.build import build
    from pipelines.extensions import load_code
    from pipelines.tasks import load_task
    from pipelines.trained_model import build_model
    from pipelines.training.features import head_and_encoder
    from pipelines.training.jax_step import JaxStep
    from pipelines.training.optimizers import make_optimizer

    load_code(recipe.code)
    config: Config = pickle.loads(recipe.config)
    task = load_task(config.task)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.restore(recipe.preprocessor)
    model = build_model(config, task, preprocessor)
    model.load_weights(recipe.weights)
    learner, *_ = head_and_encoder(model, preprocessor, config.batches)
    training = config.whole["training"]
    sizes = training["epochs"], recipe.steps_per_epoch, training["accumulate_batches"]
    optimizer = make_optimizer(config.optimizer, config.schedule, model, *sizes)
    return JaxStep(learner, optimizer, build(config.loss, task.losses, "name"), training["precision"])


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])))
