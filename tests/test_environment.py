"""What a run says about the machine and the packages that it ran with."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from pipelines.runs import environment


def test_a_package_that_another_distribution_holds_has_its_version(monkeypatch):
    assert environment.package_version("numpy") == version("numpy")
    assert environment.package_version("nothing-like-it") is None
    monkeypatch.setattr(environment, "packages_distributions", lambda: {"tensorflow_of_cpus": ["numpy"]})
    assert environment.package_version("tensorflow_of_cpus") == version("numpy")


def test_tensorflow_does_not_look_for_jax_which_can_be_imported_afterwards():
    pytest.importorskip("jax")
    code = (
        "import sys; from pipelines.tensorflow_startup import import_tensorflow; import_tensorflow();"
        "assert 'jax' not in sys.modules; import jax"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
