"""The same trials as `tuning.py` has, searched by KerasTuner's own `search` and by Optuna."""

import json
import time
from functools import partial
from pathlib import Path

from measured import CONFIGS

RANGE = (1e-4, 1e-2)
SIZES = [64, 128, 256, 512]
EPOCHS = 12


def keras_tuner_search(trials: int, seed: int, folder: str) -> None:
    """Search batch size, dropout and learning rate of the house-price MLP by KerasTuner, and print what it took."""
    began = time.perf_counter()
    from pipelines.tensorflow_startup import import_tensorflow

    import_tensorflow(verbose=False)
    import keras
    import keras_tuner
    import tensorflow as tf

    from pipelines.config.load import load_config
    from pipelines.data.batches import evaluation_batches, make_batches
    from pipelines.tasks import load_task
    from pipelines.trained_model import load_run_dataset

    config = load_config(CONFIGS / "house_prices.yaml", ["model=mlp"])
    task, dataset = load_task(config.task), load_run_dataset(config)
    preprocessor = task.preprocessor(**config.preprocessing)
    preprocessor.adapt(dataset.train)
    validation = evaluation_batches(dataset.validation, partial(preprocessor.example, training=False), True)
    fitting = []

    class Clock(keras.callbacks.Callback):
        """Add up the epochs, validation included."""

        def on_train_begin(self, logs=None):
            self.began = time.perf_counter()

        def on_train_end(self, logs=None):
            fitting.append(time.perf_counter() - self.began)

    class Houses(keras_tuner.HyperModel):
        """What KerasTuner asks of its users."""

        def build(self, hp):
            settings = {**config.models["mlp"], "dropout": hp.Float("dropout", 0.0, 0.5)}
            model = task.models["mlp"](preprocessor.features, **settings)
            rate = hp.Float("learning_rate", *RANGE, sampling="log")
            loss = keras.losses.Huber(config.loss["delta"])
            model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0), loss, jit_compile=False)
            return model

        def fit(self, hp, model, callbacks, **_):
            size = hp.Choice("size", SIZES)
            batches = make_batches(dataset.train, preprocessor, seed, size=size, cache=True)
            steps = batches.steps_per_epoch
            data = batches.stream(0).take(steps * EPOCHS).repeat()
            return model.fit(
                data, epochs=EPOCHS, steps_per_epoch=steps, validation_data=validation, verbose=0,
                callbacks=[*callbacks, Clock()],
            )  # fmt: skip

    tuner = keras_tuner.RandomSearch(Houses(), "val_loss", trials, seed=seed, directory=folder, project_name="peer")
    tuner.search(verbose=0)
    del tf
    total = time.perf_counter() - began
    print(json.dumps({"total": round(total, 2), "fitting": round(sum(fitting), 2), "trials": trials}))


def optuna_search(config: Path, overrides: list[str], trials: int, seed: int) -> float:
    """Search the same nodes by Optuna's TPE, each trial trained as ours are, and give the best objective."""
    import tempfile

    import optuna

    from pipelines.config.read import read_config
    from pipelines.config.tune_nodes import Range
    from pipelines.fit import adapt_preprocessor, train_model
    from pipelines.runs.run import Run
    from pipelines.trained_model import load_run_dataset
    from pipelines.tuning.space import Space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space.of(read_config(config, overrides))
    base = space.config({})
    dataset = load_run_dataset(base)

    def objective(trial) -> float:
        values = {}
        for path, node in space.nodes.items():
            if isinstance(node.tune, Range):
                values[path] = trial.suggest_float(path, node.tune.min, node.tune.max, log=node.tune.sampling == "log")
            else:
                values[path] = node.tune[trial.suggest_categorical(path, list(range(len(node.tune))))]
        with tempfile.TemporaryDirectory() as temporary:
            run = Run(Path(temporary) / "run")
            config = space.config(values)
            train_model(config, run, dataset, adapt_preprocessor(config, dataset))
            return run.best_epoch()[base.tuning["objective"]]

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return float(study.best_value)
