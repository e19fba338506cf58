"""Say which gaps between the errors of the splits matter, and for which the data do not decide.

For example, with 1 % error on train and 11 % on validation, and about 0 % possible, the model has high variance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from scipy import stats

from pipelines.diagnosis.gaps import SplitError
from pipelines.statistics.intervals import LEVEL, Interval, more_units_to_tell, share_gap_interval, share_interval

Kind: TypeAlias = Literal["bias", "variance", "mismatch", "variance or mismatch", "validation overfitted"]
Status: TypeAlias = Literal["matters", "small", "cannot tell"]
# A gap matters if it is this share of the error of a model that ignores its inputs. For two equal classes that is 2.5
# points of accuracy: the course calls 1 point small (15 and 16 %), and 10 points large (1 and 11 %).
MATTERS = 0.05
BLAMES: dict[Kind, str] = {
    "bias": "does not fit its training data well (high bias)",
    "variance": "overfits its training data (high variance)",
    "mismatch": "was trained on data unlike the validation data (data mismatch)",
    "variance or mismatch": "overfits its training data or was trained on data unlike the validation data (high"
    " variance or data mismatch)",
    "validation overfitted": "was fitted to the validation data by choosing epochs and settings on them",
}


@dataclass(frozen=True)
class Gap:
    """How much larger the error of one split is than that of the one before, and what that says.

    `more` is the number of further examples of `stop` that would tell; None if no number would.
    """

    kind: Kind
    start: str
    stop: str
    interval: Interval
    matters: float  # smallest gap that matters
    more: int | None

    @property
    def status(self) -> Status:
        """Whether it matters: `cannot tell` if the data do not decide whether the gap is relevant."""
        if self.interval.tells:
            return "matters" if self.interval.value >= self.matters else "small"
        return "small" if self.interval.high < self.matters else "cannot tell"

    def record(self) -> dict[str, Any]:
        """Return it for `diagnosis.json`."""
        return {**asdict(self), "status": self.status}


def find_gaps(errors: Mapping[str, SplitError], human: float | None, ignorant: float, alike: bool = True) -> list[Gap]:
    """Return the gaps from the error that is possible to that of test (Ng, Machine Learning Yearning, chapter 40).

    `errors` has at least train and validation. `human` is the error that is known to be possible; without it, the bias
    is not measured. `ignorant` is the error of a model that ignores its inputs. `alike`: validation was drawn at random
    from the same examples as train, so that without a split train_dev nothing but variance can part them.

    All intervals hold together with 95 % confidence (Bonferroni), so that few models without any gap get a verdict.
    """
    first: list[tuple[Kind, str, str]]
    if "train_dev" in errors:
        first = [("variance", "train", "train_dev"), ("mismatch", "train_dev", "validation")]
    else:
        first = [("variance" if alike else "variance or mismatch", "train", "validation")]
    last: list[tuple[Kind, str, str]] = [("validation overfitted", "validation", "test")]
    pairs = first + (last if "test" in errors else [])
    count = len(pairs) + (human is not None)
    level = 1 - (1 - LEVEL) / count
    matters = MATTERS * ignorant
    gaps = [] if human is None else [_bias(errors["train"], human, level, matters)]
    return gaps + [_between(kind, errors[start], errors[stop], level, matters) for kind, start, stop in pairs]


def sentence(gaps: Sequence[Gap], underfits: bool = False) -> str:
    """Return the verdict in one sentence. `underfits`: it is no better on train than one that sees no inputs."""
    blames = [BLAMES[gap.kind] for gap in gaps if gap.status == "matters"]
    if underfits and not any(gap.kind == "bias" and gap.status == "matters" for gap in gaps):
        blames.insert(0, "is no better on its training data than a model that ignores its inputs (high bias)")
    unclear = [f"from {gap.start} to {gap.stop} ({_would_tell(gap)})" for gap in gaps if gap.status == "cannot tell"]
    parts = [f"the model {_and(blames)}"] if blames else []
    if unclear:
        parts.append(f"it cannot be told whether there is a gap that matters {_and(unclear)}")
    said = "; ".join(parts or ["no gap matters: the model neither underfits nor overfits"])
    return f"{said[0].upper()}{said[1:]}."


def _would_tell(gap: Gap) -> str:
    if gap.more is None:
        return f"more examples of {gap.start} and {gap.stop} would tell"
    return f"about {gap.more:,} more {gap.stop} examples would tell"


def _and(parts: Sequence[str]) -> str:
    return ", ".join([*parts[:-2], " and ".join(parts[-2:])])


def _bias(train: SplitError, human: float, level: float, matters: float) -> Gap:
    if train.wrong is not None:
        own = share_interval(train.wrong, train.examples, level)
        interval = Interval(own.value - human, own.low - human, own.high - human, own.error, level)
    else:
        interval = _interval(train.value - human, [train], level)
    return Gap("bias", "human", "train", interval, matters, _more(interval, matters, train.examples, 0.0))


def _between(kind: Kind, start: SplitError, stop: SplitError, level: float, matters: float) -> Gap:
    if start.wrong is not None and stop.wrong is not None:
        interval = share_gap_interval(stop.wrong, stop.examples, start.wrong, start.examples, level)
    else:
        interval = _interval(stop.value - start.value, [start, stop], level)
    return Gap(
        kind, start.name, stop.name, interval, matters, _more(interval, matters, stop.examples, start.least_error)
    )


def _interval(value: float, splits: Sequence[SplitError], level: float) -> Interval:
    """Return Student's t interval with the degrees of freedom of Welch 1947, from independent standard errors."""
    variances = [split.error**2 for split in splits]
    error = math.sqrt(sum(variances))
    if not math.isfinite(error) or not error:
        return Interval(value, value - error, value + error, error, level)
    shares = [v**2 / (split.examples - 1) for v, split in zip(variances, splits, strict=True)]
    reach = float(stats.t.ppf((1 + level) / 2, error**4 / sum(shares))) * error
    return Interval(value, value - reach, value + reach, error, level)


def _more(interval: Interval, matters: float, examples: int, fixed_error: float) -> int | None:
    """Estimate how many more examples would tell the gap from 0, or from one that matters: whichever is easier."""
    far = max(interval.value, matters - interval.value)
    more = more_units_to_tell(Interval(far, 0.0, 0.0, interval.error, interval.level), examples, fixed_error)
    return int(more) if math.isfinite(more) else None
