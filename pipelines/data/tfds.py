"""Load raw examples from TensorFlow Datasets; data that is already prepared needs no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field
from typing_extensions import TypedDict

from pipelines.data import conversion
from pipelines.errors import UserError, did_you_mean
from pipelines.tensorflow_startup import import_tensorflow

DOWNLOAD_HOST = "https://storage.googleapis.com/tfds-data/"
PROBE_SECONDS = 5  # TFDS itself retries for minutes before it reports that there is no network


class Prepared(TypedDict):
    """Which dataset to load, where it is prepared, and which of its splits to use."""

    name: Annotated[str, Field(description="name of the dataset in TensorFlow Datasets, such as cifar10")]
    data_dir: Annotated[str | None, Field(description="folder of prepared data; null: ~/tensorflow_datasets")]
    download: Annotated[bool, Field(description="download and prepare the data if it is not prepared")]
    splits: Annotated[
        dict[Literal["all", "train", "validation", "test"], str],
        Field(
            description="TFDS split expressions such as train[:90%] for train, validation and test, or for `all` to"
            " split the data here"
        ),
    ]


def load_tfds(
    features: Mapping[str, str],
    keys: Mapping[str, str] = MappingProxyType({}),
    *,
    name: str,
    data_dir: str | None,
    download: bool,
    splits: Mapping[Literal["all", "train", "validation", "test"], str],
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read splits of a prepared dataset as tables with one column per feature.

    `splits` maps split names, or `all`, to TFDS split expressions such as `train[:90%]`. `features` maps column names
    to feature paths such as `features/alcohol`. `keys` maps a column name to its config key, if the two differ; error
    messages name the key. Class labels become their names, images stay encoded bytes.

    Returns the tables by split, and the origin that is stored in `data.json`.

    Raises:
        UserError: If the dataset, a split or a feature is unknown, or the data is neither prepared nor reachable.
    """
    import_tensorflow()
    import tensorflow_datasets as tfds

    if not {"all", "train"} & set(splits):
        raise UserError("data.splits", "has no train split")
    builder = _make_builder(name, data_dir)
    if not builder.is_prepared():
        _prepare(builder, data_dir, download)
    paths = {column: path.split("/") for column, path in features.items()}
    kinds = {column: _find(builder.info.features, path, keys.get(column, column)) for column, path in paths.items()}
    encoded = _undecoded([paths[column] for column, kind in kinds.items() if isinstance(kind, tfds.features.Image)])
    tables: dict[str, pd.DataFrame] = {}
    for split, expression in splits.items():
        try:
            if builder.info.file_format.value == "array_record":
                examples = builder.as_data_source(split=expression, decoders=encoded)
            else:
                examples = tfds.as_numpy(builder.as_dataset(split=expression, decoders=encoded))
        except (ValueError, KeyError):
            raise _unknown_split(split, expression, builder) from None
        tables[split] = pd.DataFrame(
            [{column: _feature(example, path) for column, path in paths.items()} for example in examples],
            columns=list(paths),
        )
        for column, kind in kinds.items():
            if not isinstance(kind, tfds.features.Image):
                tables[split][column] = _readable(tables[split][column], kind)
    return tables, _origin(builder)


@dataclass(frozen=True)
class PreparedFile:
    """A file of a prepared dataset, and which of its records a split has."""

    path: Path
    skip: int
    take: int | None


def tfds_files(
    image: str,
    label: str,
    *,
    name: str,
    data_dir: str | None,
    download: bool,
    splits: Mapping[Literal["all", "train", "validation", "test"], str],
) -> tuple[dict[str, list[PreparedFile]], list[str] | None, dict[str, Any]] | None:
    """Return the files of each split of a large prepared dataset, the names of its classes, and its origin.

    Returns None if the dataset is small, if it has other files than TFRecord and ArrayRecord, or if `image` is not an
    image. It is then read by `load_tfds`.

    Raises:
        UserError: As `load_tfds` does.
    """
    import_tensorflow()
    import tensorflow_datasets as tfds

    builder = _make_builder(name, data_dir)
    if not builder.is_prepared():
        _prepare(builder, data_dir, download)
    if (builder.info.dataset_size or 0) <= conversion.LARGE:
        return None
    if builder.info.file_format.value not in ("tfrecord", "array_record"):
        return None
    encoded, kind = (_find(builder.info.features, path.split("/"), path) for path in (image, label))
    if not isinstance(encoded, tfds.features.Image):
        return None
    found = {}
    for split, expression in splits.items():
        try:
            parts = builder.info.splits[expression].file_instructions
        except (ValueError, KeyError):
            raise _unknown_split(split, expression, builder) from None
        found[str(split)] = [
            PreparedFile(Path(part.filename), part.skip, None if part.take == -1 else part.take) for part in parts
        ]
    return found, list(kind.names) if hasattr(kind, "names") else None, _origin(builder)


def _origin(builder: Any) -> dict[str, Any]:
    return {"tfds": builder.info.full_name, "data_dir": str(builder.data_path), "citation": builder.info.citation}


def _unknown_split(split: str, expression: str, builder: Any) -> UserError:
    known = ", ".join(builder.info.splits)
    return UserError(f"data.splits.{split}", f"'{builder.info.name}' has no split '{expression}'; choose from {known}")


def _make_builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        raise UserError("data.name", f"TensorFlow Datasets has no dataset '{name}'") from None
    except (ValueError, AssertionError) as error:  # TFDS raises these for invalid names, configs and versions
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError("data.name", f"TensorFlow Datasets cannot load '{name}': {reason}") from None


def _prepare(builder: Any, data_dir: str | None, download: bool) -> None:
    name = builder.info.full_name
    where = data_dir or "~/tensorflow_datasets"
    command = f"tfds build {builder.name} --data_dir {where}"
    if not download:
        mend = f"set data.download: true, or run on a machine with network access: {command}"
        raise UserError("data.download", f"'{name}' is not prepared in {where}; {mend}")
    if not _online():
        problem = f"'{name}' is not prepared in {where}, and there is no network access"
        raise UserError("data.download", f"{problem}; run on a machine with network access: {command}")
    builder.download_and_prepare()


def _online() -> bool:
    import requests

    try:
        requests.head(DOWNLOAD_HOST, timeout=PROBE_SECONDS)
    except requests.RequestException:
        return False
    return True


def _feature(example: Any, path: list[str]) -> Any:
    for key in path:
        example = example[key]
    return example


def _find(features: Any, path: list[str], config_key: str) -> Any:
    for key in path:
        try:
            features = features[key]
        except (KeyError, TypeError):
            known = list(features) if hasattr(features, "keys") else []
            raise UserError(
                f"data.{config_key}", f"there is no feature '{'/'.join(path)}'{did_you_mean(key, known)}"
            ) from None
    return features


def _undecoded(paths: list[list[str]]) -> dict[str, Any]:
    """Return decoders, nested as TFDS needs them, that leave the images at these paths encoded."""
    import tensorflow_datasets as tfds

    decoders: dict[str, Any] = {}
    for *parents, leaf in paths:
        node = decoders
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = tfds.decode.SkipDecoding()
    return decoders


def _readable(values: pd.Series, feature: Any) -> pd.Series:
    if hasattr(feature, "feature"):  # a sequence of another feature
        return values.map(lambda row: [_readable_value(value, feature.feature) for value in row])
    return values.map(lambda value: _readable_value(value, feature))


def _readable_value(value: Any, feature: Any) -> Any:
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else ""
    return value.decode() if isinstance(value, bytes) else value
