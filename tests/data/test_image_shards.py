"""Images in tar files and in files of TensorFlow Datasets: read by position, they give what a folder gives."""

import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from cats import overrides, write_images
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.data import conversion, load_dataset
from pipelines.data.batches import raw_batches
from pipelines.data.images.folders import image_folder
from pipelines.data.images.read import decode_image
from pipelines.data.stored import StoredTable
from pipelines.errors import UserError
from pipelines.tasks import load_task

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3}
COUNT = 42


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keras-task-pipelines" / "images"


def write_shards(folder, images, kind="cls", shards=2):
    """Write the images of a folder, in its order, as WebDataset does."""
    folder.mkdir()
    table, _ = image_folder(images)
    for number, rows in enumerate(np.array_split(np.arange(len(table)), shards)):
        with tarfile.open(folder / f"train-{number:03}.tar", "w") as archive:
            for row in rows:
                image, label = table["image"][row], table["label"][row]
                add(archive, f"./{row:05}{image.suffix}", image.read_bytes())
                content = label if kind == "cls" else json.dumps({"label": label, "width": 3})
                add(archive, f"./{row:05}.{kind}", content.encode())
    return folder


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def load(root, path, **settings):
    data = {"source": "files", "root": str(root), "path": path, **settings}
    return load_dataset(data, SPLIT, load_task("cat_classifier"))


def pixels(examples):
    (raw,) = raw_batches(examples[["image"]])
    return [decode_image(image).numpy() for image in raw["image"]]


@pytest.mark.parametrize("kind", ["cls", "json"])
@pytest.mark.parametrize("positive", [[], ["cat"]])
def test_tar_files_have_the_images_and_classes_of_the_folder(tmp_path, kind, positive):
    write_shards(tmp_path / "shards", write_images(tmp_path / "photos", COUNT), kind)
    whole = load(tmp_path, "photos", positive=positive)
    for path in ("shards", "shards/train-*.tar"):
        stored = load(tmp_path, path, positive=positive)
        assert isinstance(stored.train, StoredTable)
        assert stored.record["fingerprint"] == whole.record["fingerprint"]
        assert stored.summary.classes == whole.summary.classes
        for one, other in zip(pixels(stored.test), pixels(whole.test), strict=True):
            np.testing.assert_array_equal(one, other)
    assert whole.rows["test"].id(3) == stored.rows["test"].id(3)
    assert ".tar:" in stored.rows["test"].place("test", 3).file


def test_training_on_tar_files_gives_the_metrics_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [write_images(tmp_path / "photos", COUNT)]
    folders.append(write_shards(tmp_path / "shards", folders[0]))
    metrics = []
    for folder in folders:
        settings = overrides(folder, "model=logistic_regression", "batches.cache=false", "training.epochs=1")
        arguments = ["train", "cat_classifier", "--run-dir", f"run-{folder.name}"]
        done = CliRunner().invoke(main, [*arguments, *(f"--set={each}" for each in settings)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        metrics.append(json.loads((tmp_path / f"run-{folder.name}" / "metrics.json").read_text()))
    assert metrics[0] == metrics[1]


FAULTY = {  # name -> name and content of a member, and what is said
    "no class": ("x.jpg", b"\xff\xd8\xff", r"train-001\.tar, x: has no class; write the class of KEY\.jpg"),
    "no image": ("x.cls", b"cat", None),
    "bad JSON": ("x.json", b"{", r"x\.json: is not text in UTF-8, or not valid JSON"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_in_a_tar_file_is_named(tmp_path, cache, name):
    write_shards(tmp_path / "shards", write_images(tmp_path / "photos", COUNT))
    member, content, said = FAULTY[name]
    with tarfile.open(tmp_path / "shards" / "train-001.tar", "a") as archive:
        add(archive, member, content)
    if said is None:
        assert sum(load(tmp_path, "shards").record["examples"].values()) == COUNT
        return
    with pytest.raises(UserError, match=said):
        load(tmp_path, "shards")
    assert not cache.exists() or not list(cache.iterdir())


def test_damaged_images_are_named_or_skipped_and_compressed_files_are_refused(tmp_path):
    write_shards(tmp_path / "shards", write_images(tmp_path / "photos", COUNT))
    with tarfile.open(tmp_path / "shards" / "train-000.tar", "a") as archive:
        add(archive, "x.png", b"\x89PNG\r\n\x1a\n oops")
        add(archive, "x.cls", b"cat")
    with pytest.raises(UserError, match=r"train-000\.tar:22: a truncated or damaged PNG image"):
        load(tmp_path, "shards")
    skipped = load(tmp_path, "shards", bad_files="skip")
    assert sum(skipped.record["examples"].values()) == COUNT and skipped.record["skipped"]["count"] == 1
    (tmp_path / "shards" / "train-000.tar").rename(tmp_path / "shards" / "train-000.tar.gz")
    with pytest.raises(UserError, match=r"train-000\.tar\.gz: is compressed"):
        load(tmp_path, "shards")


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_a_large_prepared_dataset_is_read_by_position(tmp_path, monkeypatch, file_format):
    random = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    features = {"about": {"picture": tfds.features.Image()}, "kind": tfds.features.ClassLabel(names=["dog", "cat"])}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": ((i, {"about": {"picture": random[i]}, "kind": i % 2}) for i in range(40))},
        data_dir=tmp_path,
        file_format=file_format,
        disable_shuffling=True,
    )
    data = {"source": "tfds", "name": "pets", "data_dir": str(tmp_path), "download": False, "positive": []}
    data |= {"image": "about/picture", "label": "kind", "bad_files": "error"}
    data["splits"] = {"train": "train[:60%]", "validation": "train[60%:80%]", "test": "train[80%:]"}
    whole = load_dataset(data, SPLIT, load_task("cat_classifier"))
    monkeypatch.setattr(conversion, "LARGE", 0)
    stored = load_dataset(data, SPLIT, load_task("cat_classifier"))
    assert isinstance(whole.train, pd.DataFrame) and isinstance(stored.train, StoredTable)
    for split in ("train", "validation", "test"):
        assert stored[split].frame().equals(whole[split])
        (one,), (other,) = raw_batches(stored[split]), raw_batches(whole[split])
        assert tf.reduce_all(one["image"] == other["image"])
    assert stored.record["fingerprint"] == whole.record["fingerprint"]
