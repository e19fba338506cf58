"""Import the packages of the extra `audit` when a check needs one."""

from importlib import import_module
from types import ModuleType

from pipelines.errors import UserError


def needed(name: str) -> ModuleType:
    """Import a module of an optional package.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        fix = "install it with: pip install '.[audit]' in the clone"
        raise UserError("audit", f"the package {error.name} is missing; {fix}") from None
