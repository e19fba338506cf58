"""Which of the user's files or folders hold which split."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.errors import UserError

Root = Annotated[str, Field(description="folder that `path` starts from")]
Split = Literal["train", "validation", "test"]


def paths_by_split(root: str, path: str | dict[Split, str]) -> dict[str, Path]:
    """Give the path of each split, or of `all` to be split here.

    Raises:
        UserError: where splits are named but train is not.
    """
    paths = {"all": path} if isinstance(path, str) else path
    if "train" not in paths and "all" not in paths:
        raise UserError("data.path", "names no train file or folder")
    return {split: Path(root) / name for split, name in paths.items()}
