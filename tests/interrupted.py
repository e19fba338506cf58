"""A training that stops as if its process was killed."""

import pytest

from pipelines.runs.run import Run


class Interrupted(Exception):
    """What a test expects."""


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Stop the process's training just as the checkpoint of `epoch` was to be written."""
    save = Run.save_checkpoint

    def broken(self, checkpoint):
        if len(checkpoint.history) == epoch:
            raise Interrupted
        save(self, checkpoint)

    monkeypatch.setattr(Run, "save_checkpoint", broken)
