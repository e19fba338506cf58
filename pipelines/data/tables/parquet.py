"""Read Parquet files by `pyarrow.dataset`: the types of their columns, and their rows in parts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

TABLES = "'.[tables]' in the clone"
PART = 1 << 16  # rows of a part


@dataclass(frozen=True)
class Parquet:
    """A Parquet file; a folder above it such as `year=2026` is a column too."""

    path: Path
    dataset: "ds.Dataset"

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, without the row labels of pandas."""
        schema = self.dataset.schema
        labels = (schema.pandas_metadata or {}).get("index_columns", ())
        return [name for name in schema.names if name not in labels]

    @property
    def kinds(self) -> dict[str, str]:
        """What the columns hold by their types: `number`, `date` or `category`."""
        return {name: _kind(self.dataset.schema.field(name).type) for name in self.names}

    @cached_property
    def count(self) -> int:
        """The number of rows."""
        return self.dataset.count_rows()

    def whole(self) -> dict[str, "pa.ChunkedArray"]:
        """Return all values of each column."""
        table = self.dataset.to_table(columns=self.names)
        return dict(zip(self.names, table.columns, strict=True))

    def parts(self) -> Iterator[Mapping[str, "pa.Array"]]:
        """Yield the values of each column in some rows at a time, in order.

        Row groups are read one after the other: a reader of the whole file decodes far more than it has handed out.
        """
        for file in self.dataset.get_fragments():
            for group in file.split_by_row_group():
                read = group.to_batches(self.dataset.schema, self.names, batch_size=PART, batch_readahead=0)
                yield from (dict(zip(self.names, part.columns, strict=True)) for part in read if part.num_rows)


def open_parquet(path: Path) -> Parquet:
    """Open a Parquet file and read its schema.

    Raises:
        UserError: If it cannot be read, or a column holds lists or objects.
    """
    try:
        import pyarrow as pa
        import pyarrow.dataset as ds
    except ImportError:
        problem = f"reading a Parquet file needs the package pyarrow; run: pip install {TABLES}"
        raise UserError(str(path), problem) from None
    try:
        found = Parquet(path, ds.dataset(str(path), format="parquet", partitioning="hive"))
        found.dataset.count_rows()
    except pa.ArrowInvalid as error:
        raise UserError(str(path), f"cannot be read as a Parquet file ({str(error).splitlines()[0]})") from None
    for name in found.names:
        if pa.types.is_nested(found.dataset.schema.field(name).type):
            raise UserError(str(path), f"column '{name}' contains lists or objects; write single values")
    return found


def _kind(kind: "pa.DataType") -> str:
    import pyarrow as pa

    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "date" if pa.types.is_date(kind) or pa.types.is_timestamp(kind) else "category"
