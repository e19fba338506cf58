"""Say in which settings the configs of runs differ. Needs no TensorFlow."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.config.validation import Config, differences
from pipelines.errors import UserError


def letters(count: int) -> list[str]:
    """Return short names of runs: A, B, ...

    Raises:
        UserError: If there are more runs than letters.
    """
    if count > len(string.ascii_uppercase):
        raise UserError("compare", f"at most {len(string.ascii_uppercase)} runs can be compared at once, not {count}")
    return list(string.ascii_uppercase[:count])


def differing_settings(configs: Sequence[Config], names: Sequence[str]) -> pd.DataFrame:
    """Return the settings that differ, by dotted path, without those of models that no run has; a column per run."""
    models = {config.model for config in configs}
    own = [{m: config.whole["models"][m] for m in models if m in config.whole["models"]} for config in configs]
    flat = [flat_settings({**config.whole, "models": each}) for config, each in zip(configs, own, strict=True)]
    paths = dict.fromkeys(path for config in configs[1:] for path in differences(configs[0].whole, config.whole))
    kept = [path for path in paths if any(path in each for each in flat)]
    return pd.DataFrame({n: [each.get(path) for path in kept] for n, each in zip(names, flat, strict=True)}, index=kept)


def flat_settings(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings of a section by dotted path, each after `prefix`."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
