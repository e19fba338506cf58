"""Train the run's own config again, with what a diagnosis proposes or with less data, in `diagnosis/trainings/`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipelines.comparison.trainings import Candidates, Trainings
from pipelines.config.read import Unresolved, read_config
from pipelines.data import Source
from pipelines.errors import UserError
from pipelines.extensions import loaded_code
from pipelines.runs.run import Run
from pipelines.tuning.journal import SearchFolder
from pipelines.tuning.pools import make_pool
from pipelines.tuning.space import Space, make_runs_absolute
from pipelines.tuning.trials import get_ready

OWN = "own config"


class TrainingsFolder(SearchFolder):
    """The folder of the trainings of a diagnosis, which continue each time."""

    word, option = "diagnosis", None  # its place is that of the run

    def _take_up(self, begun: Unresolved, config: Unresolved) -> list[str]:
        raise UserError(str(self.folder), "has trainings of an earlier config of this run; delete this folder")


class FurtherTrainings(Trainings):
    """Trainings of which only the metrics are of use."""

    def _prune(self) -> None:
        for trial in self.ended:
            self.run_of(trial).drop_weights()


def train_further(
    run: Run,
    source: Source,
    candidates: Candidates,
    seeds: int,
    workers: int,
    objective: str,
    shown: Callable[[Any], None],
) -> FurtherTrainings:
    """Train the run's own config, and each candidate's changes of it, with the same seeds; an interrupted one resumes.

    `objective` is the metric of the best epoch that is the score, such as `validation.accuracy`.

    Raises:
        UserError: If another process trains there, or the trainings there are of another config or of other data.
    """
    unresolved = read_config(run.config)
    make_runs_absolute(unresolved.document)
    folder = TrainingsFolder(run.diagnosis.resolve() / "trainings")
    space = Space(unresolved, {})
    trainings = FurtherTrainings(folder, space, source.absolute(), {OWN: {}, **candidates}, seeds, shown, objective)
    pool = make_pool(workers, None, partial(get_ready, folder.config, None, code=loaded_code()))
    try:
        with folder.locked():
            folder.begin(unresolved, trainings.dataset.record["fingerprint"])
            trainings.run(pool, workers)
    finally:
        pool.terminate()
    return trainings
