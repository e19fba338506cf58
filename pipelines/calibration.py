"""Measure on the validation split how sure a trained model is, so that its answers can say it."""

from typing import Annotated

from pydantic import Field

from pipelines.data import Dataset
from pipelines.errors import counted
from pipelines.statistics.conformal import least_examples
from pipelines.task import Confidence, Preprocessor, Task

Coverage = Annotated[
    float,
    Field(
        ge=0.5,
        le=0.999,
        description="fraction of new examples whose true value is in the interval, or in the set of classes or tags",
    ),
]


def calibrate(
    task: Task, model: object, preprocessor: Preprocessor, dataset: Dataset, seed: int, *, coverage: Coverage
) -> tuple[Confidence, list[str]]:
    """Return what makes the answers say how sure they are, and a warning if the validation split is too small for it.

    The best epoch was chosen on the same examples, so the coverage of new ones is a little lower; it is measured on the
    test split.
    """
    examples = task.evaluation_examples("validation", dataset.validation)
    confidence = task.calibrate(model, preprocessor, dataset.train, examples, coverage, seed)
    least, count = least_examples(coverage), int(confidence["calibrated_on"])
    if count >= least:
        return confidence, []
    problem = f"the validation split has {counted(count, 'example')}, and a coverage of {coverage:g} takes {least}"
    return confidence, [f"confidence.coverage: {problem}, so that of new examples may differ"]
