"""Index images in tar files (WebDataset's layout) and in files of TensorFlow Datasets, to read them by position.

Nothing is copied: the index has the place of each image in its file.
"""

import json
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.conversion import converted, map_units
from pipelines.data.examples import ExampleFiles
from pipelines.data.fields import Fields
from pipelines.data.images.kinds import IMAGE_ENDINGS
from pipelines.data.rows import Places, content_hashes, contents_of
from pipelines.data.spans import SPAN, SpanFiles, is_array_record
from pipelines.data.stored import StoredTable, TableWriter
from pipelines.errors import UserError
from pipelines.storage import write_arrays, write_json
from pipelines.tensorflow_startup import import_tensorflow

AT_ONCE = 1000  # images that are decoded at once, to find those that cannot be
LABEL_KEYS = ("label", "class", "cls")  # of a JSON object beside an image
LAYOUT = 'write the class of KEY.jpg to KEY.cls, or as KEY.json: {"label": ...}'

Grouping = Callable[[Sequence[str]], Callable[[pd.DataFrame], pd.DataFrame]]
Indexed = tuple[int, int, str]  # start and size of an image in its file, and its class


@dataclass(frozen=True)
class Shard:
    """A file with images: a tar file, or a TFRecord or ArrayRecord file of which some of the records are used."""

    path: Path
    image: str = ""  # feature of the records
    label: str = ""
    names: Sequence[str] | None = None  # of the classes that the records number
    skip: int = 0
    take: int | None = None


@dataclass
class ShardedImages:
    """Images in files by split, and what was found about them."""

    tables: dict[str, StoredTable] = field(default_factory=dict)
    places: dict[str, Sequence[str]] = field(default_factory=dict)
    hashes: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    faults: list[dict[str, str]] = field(default_factory=list)  # images that were left out, and why


def tar_files(place: Path) -> list[Path]:
    """List the tar files that a path stands for: a file, a folder that holds some, or a pattern.

    Returns an empty list if it stands for something else.

    Raises:
        UserError: If a tar file is compressed.
    """
    if place.is_dir():
        found = sorted(path for path in place.iterdir() if path.name.endswith((".tar", ".tar.gz", ".tgz")))
    elif any(sign in place.name for sign in "*?["):
        found = sorted(place.parent.glob(place.name))
    else:
        found = [place] if place.name.endswith((".tar", ".tar.gz", ".tgz")) else []
    for path in found:
        if path.suffix != ".tar":
            raise UserError(str(path), "is compressed, so its images cannot be read by position; run: gunzip FILE")
    return found


def sharded_images(
    shards: Mapping[str, Sequence[Shard]], fields: Fields, grouping: Grouping, settings: Any
) -> ShardedImages:
    """Return the images of files, indexed once for each content of these; those that cannot be decoded are left out.

    `grouping` maps the names of all classes to a function that gives the images their labels; `settings` decide on it.

    Raises:
        UserError: If a file cannot be read, or an image has no class.
    """
    found = {split: [shard.path for shard in each] for split, each in shards.items()}
    settings = [settings, [[vars(shard) for shard in each] for each in shards.values()]]
    folder = converted("images", found, settings, lambda whole: _convert(whole, shards, fields, grouping))
    read = ShardedImages(faults=json.loads((folder / "faults.json").read_text(encoding="utf-8")))
    for split, paths in found.items():
        read.tables[split] = StoredTable(folder / split)
        with np.load(folder / f"{split}.npz") as arrays:
            read.hashes[split] = {name: arrays[name] for name in ("hashes", "inputs", "targets")}
            read.places[split] = Places([str(path) for path in paths], arrays["shard"], arrays["line"])
    return read


def _convert(folder: Path, shards: Mapping[str, Sequence[Shard]], fields: Fields, grouping: Grouping) -> None:
    units = [(split, shard) for split, each in shards.items() for shard in each]
    indexed = map_units(_indexed, [shard for _, shard in units])
    group = grouping(sorted({label for rows, *_ in indexed for *_, label in rows}))
    for split, each in shards.items():
        own = [found for found, (of, _) in zip(indexed, units, strict=True) if of == split]
        table, arrays = None, [found for _, found, _ in own]
        for number, (rows, *_) in enumerate(own):
            spans = [(number, start, size) for start, size, _ in rows]
            frame = group(pd.DataFrame({"image": spans, "label": [label for *_, label in rows]}))
            arrays[number] |= content_hashes(frame.assign(image=arrays[number].pop("digests")), fields)
            table = table or TableWriter(folder / split, dict.fromkeys(frame, "text") | {"image": "image"})
            table.add(frame)
        assert table is not None  # because a split has files
        table.close()
        files = [str(shard.path.resolve()) for shard in each]
        write_json(folder / split / "files.json", {"files": files, "feature": each[0].image})
        joined = {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
        joined["shard"] = np.repeat(np.arange(len(own), dtype=np.uint32), [len(rows) for rows, *_ in own])
        write_arrays(folder / f"{split}.npz", joined)
    write_json(folder / "faults.json", [fault for *_, faults in indexed for fault in faults])


def _indexed(shard: Shard) -> tuple[list[Indexed], dict[str, np.ndarray], list[dict[str, str]]]:
    """Return the images of a file that can be decoded, their digests and numbers, and the faults of the others."""
    import_tensorflow()
    from pipelines.data.images.read import undecodable

    kept: list[Indexed] = []
    faults: list[dict[str, str]] = []
    digests: list[str] = []
    lines: list[int] = []
    files = SpanFiles([shard.path], shard.image)
    images = enumerate(_tar_images(shard.path) if not shard.image else _recorded_images(shard), 1)
    while some := list(islice(images, AT_ONCE)):
        contents = files.read(np.array([(0, start, size) for _, (start, size, _) in some], SPAN))
        wrong = undecodable(contents)
        faults += [{"place": f"{shard.path}:{some[at][0]}", "reason": reason} for at, reason in wrong.items()]
        rows = [at for at in range(len(some)) if at not in wrong]
        kept += [some[at][1] for at in rows]
        digests += contents_of(pd.DataFrame({"image": [contents[at] for at in rows]}, dtype=object))["image"].tolist()
        lines += [some[at][0] for at in rows]
    if not kept:
        raise UserError(str(shard.path), "contains no images that can be decoded")
    return kept, {"digests": np.array(digests, object), "line": np.array(lines, np.uint32)}, faults


def _tar_images(path: Path) -> Iterator[Indexed]:
    """Yield the images of a tar file: files with the same name up to the first dot belong together."""
    key, image, label = "", None, None
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # they would grow with the number of files
                if not member.isfile() or Path(member.name).name.startswith("."):
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if f"{folder}/{stem}" != key:
                    yield from _complete(path, key, image, label)
                    key, image, label = f"{folder}/{stem}", None, None
                if f".{suffix.lower()}" in IMAGE_ENDINGS:
                    image = member.offset_data, member.size
                elif suffix in ("cls", "json"):
                    content = archive.extractfile(member)
                    assert content is not None  # a plain file
                    label = _label(content.read(), suffix, f"{path}, {member.name}")
    except (tarfile.TarError, OSError) as error:
        raise UserError(str(path), f"cannot be read as a tar file ({error})") from None
    yield from _complete(path, key, image, label)


def _complete(path: Path, key: str, image: tuple[int, int] | None, label: str | None) -> Iterable[Indexed]:
    if image is None:
        return []
    if label is None:
        raise UserError(f"{path}, {key.removeprefix('/')}", f"has no class; {LAYOUT}")
    return [(*image, label)]


def _label(content: bytes, suffix: str, place: str) -> str | None:
    try:
        text = content.decode().strip()
        if suffix == "cls":
            return text
        record = json.loads(text)
    except ValueError:
        raise UserError(place, "is not text in UTF-8, or not valid JSON") from None
    found = next((record[key] for key in LABEL_KEYS if key in record), None) if isinstance(record, dict) else record
    return str(found) if isinstance(found, str | int) else None


def _recorded_images(shard: Shard) -> Iterator[Indexed]:
    """Yield the images of a TFRecord or ArrayRecord file."""
    records = _array_records if is_array_record(shard.path) else _tf_records
    for start, size, label in islice(
        records(shard), shard.skip, None if shard.take is None else shard.skip + shard.take
    ):
        yield start, size, _class_name(label, shard.names)


def _tf_records(shard: Shard) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield the images of a TFRecord file: each record has its length (8 bytes), a checksum, an example, a checksum."""
    from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

    with shard.path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", head[:8])
            start = file.tell()
            content = file.read(length + 4)[:length]
            features = Example.FromString(content).features.feature
            (encoded,) = features[shard.image].bytes_list.value
            label = features[shard.label]
            yield start + content.index(encoded), len(encoded), (*label.int64_list.value, *label.bytes_list.value)[0]


def _array_records(shard: Shard) -> Iterator[tuple[int, int, int | bytes]]:
    files = ExampleFiles([shard.path], [0])
    for number in range(len(files)):
        (example,) = files.read(np.array([number]))
        yield number, 0, example[shard.label][0]


def _class_name(label: int | bytes, names: Sequence[str] | None) -> str:
    if isinstance(label, bytes):
        return label.decode()
    return str(label) if names is None else names[label]
