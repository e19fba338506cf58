"""TensorFlow Datasets as a source, on a dataset prepared here, and what is said where data is not prepared."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines.errors import UserError
from pipelines.tasks.house_prices.sources import tfds as source

FEATURES = {"size (m2)": "about/size", "kind": "kind", "name": "name", "cost": "cost"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Prepare a dataset of twelve flats."""
    folder = tmp_path_factory.mktemp("tfds")

    def flats(start, stop):
        for i in range(start, stop):
            yield i, {"about": {"size": np.float32(i)}, "kind": i % 2, "name": f"flat {i}", "cost": np.int64(10 * i)}

    features = {
        "about": {"size": np.float32},
        "kind": tfds.features.ClassLabel(names=["let", "owned"]),
        "name": tfds.features.Text(),
        "cost": np.int64,
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="flats",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": flats(0, 8), "test": flats(8, 12)},
        data_dir=folder,
    )
    return str(folder)


def load(data_dir, **changes):
    settings = {"name": "flats", "download": False, "splits": {"train": "train", "test": "test"}, "features": FEATURES}
    return source(**{**settings, "target": "cost", "data_dir": data_dir, **changes})


def test_features_become_columns_with_readable_values(data_dir):
    loaded = load(data_dir)
    train = loaded.examples["train"].sort_values("price").reset_index(drop=True)
    assert list(train) == ["size__m2_", "kind", "name", "price"]
    assert train.loc[3].tolist() == [3.0, "owned", "flat 3", 30.0]
    assert len(loaded.examples["test"]) == 4
    assert loaded.origin["tfds"] == "flats/1.0.0"


def test_a_split_expression_can_be_split_here(data_dir):
    assert len(load(data_dir, splits={"all": "train+test[:50%]"}).examples["all"]) == 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "no_such_data"}, "data.name: TensorFlow Datasets has no dataset 'no_such_data'"),
        ({"name": "no such"}, "data.name: TensorFlow Datasets cannot load 'no such'"),
        ({"name": "ted_hrlr_translate/pt_to_xx"}, "data.name: TensorFlow Datasets cannot load"),
        ({"splits": {"all": "trian"}}, "data.splits.all: 'flats' has no split 'trian'; choose from"),
        ({"features": {"a": "about/sice", "cost": "cost"}}, "no feature 'about/sice'; did you mean 'size'?"),
        ({"target": "price"}, "data.target: 'price' is not one of data.features"),
        ({"target": "kind"}, "data.target: 'kind' is not numeric, but contains 'let'"),
        ({"splits": {"test": "test"}}, "data.splits: has no train split"),
        (
            {"features": {"a b": "name", "a.b": "kind", "cost": "cost"}},
            "data.features: columns 'a b' and 'a.b' would both be named 'a_b'; rename one",
        ),
    ],
)
def test_what_is_not_there_is_named(data_dir, changes, expected):
    with pytest.raises(UserError) as caught:
        load(data_dir, **changes)
    assert expected in str(caught.value)


def test_unprepared_data_says_what_to_run_where(tmp_path, monkeypatch):
    changes = {"name": "wine_quality/white", "data_dir": str(tmp_path), "features": {"cost": "quality"}}
    with pytest.raises(
        UserError,
        match=r"is not prepared in .*; set data.download: true, or run on a machine with network access: tfds build",
    ):
        load(**changes)
    monkeypatch.setattr("pipelines.data.tfds._online", lambda: False)
    with pytest.raises(
        UserError,
        match=r"is not prepared in .*, and there is no network access; run on a machine with .*: tfds build",
    ):
        load(**changes, download=True)
    assert not list(tmp_path.iterdir())


def test_images_come_as_encoded_bytes(tmp_path):
    from pipelines.data.images.read import decode_image
    from pipelines.tasks.cat_classifier.sources import tfds as images

    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)

    def pictures(start, stop):
        for i in range(start, stop):
            yield i, {"about": {"picture": pixels[i]}, "kind": i % 2}

    features = {
        "about": {"picture": tfds.features.Image(shape=(None, None, 3))},
        "kind": tfds.features.ClassLabel(names=["dog", "cat"]),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": pictures(0, 6)},
        data_dir=tmp_path,
    )
    table = images(
        name="pets",
        data_dir=str(tmp_path),
        download=False,
        splits={"all": "train"},
        image="about/picture",
        label="kind",
        positive=["cat"],
        bad_files="error",
    ).examples["all"]
    assert sorted(table["label"]) == ["cat"] * 3 + ["not cat"] * 3
    decoded = {
        decode_image(image).numpy().tobytes(): kind for image, kind in zip(table["image"], table["kind"], strict=False)
    }
    assert decoded == {image.tobytes(): ["dog", "cat"][i % 2] for i, image in enumerate(pixels)}


def test_pairs_are_read_by_language_and_bad_ones_left_out(tmp_path):
    from pipelines.tasks.translator.sources import tfds as pairs

    said = [("one", "un"), ("", "deux"), ("three", "trois")]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="numbers",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"en": tfds.features.Text(), "fr": tfds.features.Text()}),
        split_datasets={"train": ((i, {"en": en, "fr": fr}) for i, (en, fr) in enumerate(said))},
        data_dir=tmp_path,
    )
    settings = {"name": "numbers", "data_dir": str(tmp_path), "download": False, "splits": {"train": "train"}}
    settings |= {"from_language": "en", "most_characters": 100, "most_ratio": 3.0}
    source = pairs(to_language="fr", **settings)
    assert sorted(source.examples["train"]["target"]) == ["trois", "un"]
    assert source.origin["left_out"] == {"a side is empty": 1}
    with pytest.raises(UserError, match="no feature 'de'"):
        pairs(to_language="de", **settings)
