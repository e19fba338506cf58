"""A folder of small images, and a finished run on it."""

from pathlib import Path

import pytest
from cats import CONFIG, overrides, write_images
from conftest import invoke, sets


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A folder of 90 images."""
    return write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def finished_cats(tmp_path_factory, images) -> Path:
    """A finished run on the folder of images."""
    folder = tmp_path_factory.mktemp("run") / "cats"
    result = invoke("train", CONFIG, *sets(overrides(images)), "--run-dir", folder)
    assert result.exit_code == 0, result.output
    return folder
