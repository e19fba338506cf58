"""Find what examples belong together by: the file, the folder or the name of a file they come from."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.data.files import holds_files

NUMBER = re.compile(r"[\W_]*\d+\W*$")  # at the end of a name: the third picture of patient 12 is patient12_3.jpg
LONGEST = 100  # characters of a value that may name a group


def short_values(record: Mapping[str, Any], used: Container[str]) -> dict[str, str]:
    """Return the short texts and whole numbers of a record that are not used otherwise, such as its document."""
    return {
        str(name): str(value)
        for name, value in record.items()
        if name not in used and isinstance(value, str | int) and 0 < len(str(value)) <= LONGEST
    }


def groups_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Sequence[str]]:
    """Return the values that all rows have, by name."""
    names = [name for name in (rows[0] if rows else {}) if all(name in row for row in rows)]
    return {name: [row[name] for row in rows] for name in names}


def group_columns(table: pd.DataFrame, given: Mapping[str, Sequence[str]] | None) -> pd.DataFrame:
    """Return columns whose equal values name a group of examples, beside those of the table itself.

    `given` are those that the source knows, such as the `file` of a sentence. Of files, such as images, the `folder`
    is that of the file, and the `name` that of the file without the number at its end.
    """
    columns = {name: pd.Series(values, table.index, _type(values)) for name, values in (given or {}).items()}
    found = pd.DataFrame(columns, index=table.index)
    names = [name for name, values in table.head(1).items() if holds_files(values)]
    if names:
        files = table[names[0]]
        found["folder"] = [str(path.parent) for path in files]
        found["name"] = [f"{path.parent}/{NUMBER.sub('', path.stem)}" for path in files]
    return found.drop(columns=[name for name in found if name in table])


def _type(values: Sequence[str]) -> pd.CategoricalDtype | type:
    return values.dtype if isinstance(values, pd.Categorical) else object
