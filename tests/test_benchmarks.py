"""The scripts of the benchmarks start, and take the commands that they name."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if "python benchmarks/" in path.read_text())


def loaded(path: Path, monkeypatch):
    """Import a script as a module; skip if a package of the benchmarks alone is missing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, path.stem, module)
    try:
        specification.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] in {"pipelines", *(each.stem for each in BENCHMARKS.glob("*.py"))}:
            raise
        pytest.skip(f"needs the package {error.name}")
    return module


@pytest.mark.slow
def test_our_training_step_is_timed_on_jax(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu_speed.py", "--out", tmp_path, "--smoke", "--minutes", "10"]
    done = subprocess.run(list(map(str, command)), cwd=BENCHMARKS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu_speed.json").read_text())["results"]
    own = [each for each in results if each["what"] == "ours on JAX"]
    assert len(own) == 3 and all(min(each["steps_per_second"]) > 0 for each in own), own
    table = (tmp_path / "gpu_speed.md").read_text()
    assert all(f"| {each['row']} | {each['what']} |" in table for each in results)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_takes_the_commands_that_it_names(path, monkeypatch, tmp_path):
    module = loaded(path, monkeypatch)
    commands = re.findall(rf"^    python benchmarks/{path.name}(.*)$", module.__doc__, re.MULTILINE)
    assert commands
    for line in commands:
        words = shlex.split(re.split(r" {2,}", line.strip(), maxsplit=1)[0], comments=True)
        given = [str(tmp_path) if word.isupper() or "FOLDER" in word else word for word in words]
        if isinstance(module.main, click.Command):
            module.main.make_context(path.name, given)  # an unknown option, or a missing one, is an error
        else:
            monkeypatch.setattr(sys, "argv", [path.name, *given, "--help"])
            with pytest.raises(SystemExit) as ended:
                module.main()
            assert ended.value.code == 0
