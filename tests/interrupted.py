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


def interrupt_within(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """Stop the process's training just after the checkpoint of a step of the 1-based `epoch` was written."""
    save = Run.save_checkpoint

    def broken(self, checkpoint):
        save(self, checkpoint)
        if (len(checkpoint.history) + 1, checkpoint.step) == (epoch, step):
            raise Interrupted

    monkeypatch.setattr(Run, "save_checkpoint", broken)
