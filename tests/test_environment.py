"""What a run says about the machine and the packages that it ran with."""

from importlib.metadata import version

from pipelines.runs import environment


def test_a_package_that_another_distribution_holds_has_its_version(monkeypatch):
    assert environment.package_version("numpy") == version("numpy")
    assert environment.package_version("nothing-like-it") is None
    monkeypatch.setattr(environment, "packages_distributions", lambda: {"tensorflow_of_cpus": ["numpy"]})
    assert environment.package_version("tensorflow_of_cpus") == version("numpy")
