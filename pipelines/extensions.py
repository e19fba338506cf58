"""Load custom models and tasks from Python files. A config runs no code without `--code`."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.errors import UserError, did_you_mean

_loaded: dict[str, tuple[Path, ModuleType]] = {}  # by the name of the module


def load_code(paths: Iterable[str | Path]) -> None:
    """Import Python files, or folders that are packages; their contents are then known by dotted names.

    Raises:
        UserError: If a path is not a Python file or package, or another module has its name.
    """
    for path in map(Path, paths):
        name, file = path.stem, path / "__init__.py" if path.is_dir() else path
        if name in _loaded and _loaded[name][0] == file.resolve():
            continue
        if file.suffix != ".py" or not file.is_file():
            raise UserError(f"--code {path}", "no such Python file or package (a folder with an __init__.py)")
        if not name.isidentifier() or name in sys.modules or _is_another(name, file):
            raise UserError(f"--code {path}", f"'{name}' is not a module name, or is already taken; rename the file")
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=_inside(path))
        assert spec is not None and spec.loader is not None  # because of the suffix .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        _loaded[name] = file.resolve(), module


def loaded_code() -> list[str]:
    """List the files whose code was loaded, for other processes to load too."""
    return [str(file.parent if file.name == "__init__.py" else file) for file, _ in _loaded.values()]


def fingerprints() -> dict[str, str]:
    """Return the SHA-256 of each file whose code was loaded."""
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file, _ in _loaded.values()}


def find_component(kind: str, dotted: str) -> Any:
    """Return what a dotted name stands for, such as `my_models.densenet`.

    Raises:
        UserError: If no loaded code has it.
    """
    module, *names = dotted.split(".")
    if module not in _loaded:
        raise UserError(f"{kind} {dotted}", f"no module '{module}' is loaded; load its file with --code {module}.py")
    found: Any = _loaded[module][1]
    for at, name in enumerate(names, 1):
        if not hasattr(found, name):
            owner = ".".join(dotted.split(".")[:at])
            known = [other for other in vars(found) if not other.startswith("_")]
            raise UserError(f"{kind} {dotted}", f"'{owner}' has no '{name}'{did_you_mean(name, known)}")
        found = getattr(found, name)
    return found


def find_builder(models: Mapping[str, Callable], name: str) -> Callable:
    """Return the function that builds a model: one of a task's `models`, or one of loaded code.

    Raises:
        UserError: If no loaded code has this name.
    """
    return models[name] if name in models else find_component("model", name)


def _is_another(name: str, file: Path) -> bool:
    """Return whether `import name` finds another file; it finds this one if its folder is on Python's path."""
    found = importlib.util.find_spec(name)
    return found is not None and (found.origin is None or Path(found.origin).resolve() != file.resolve())


def _inside(path: Path) -> list[str] | None:
    return [str(path)] if path.is_dir() else None
