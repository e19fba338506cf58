"""Import TensorFlow without its startup messages."""

import contextlib
import errno
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any


def import_tensorflow(verbose: bool = False, keras: bool = True, backend: str = "tensorflow") -> None:
    """Import TensorFlow, with Keras on a `backend` or without Keras; hide its startup messages unless `verbose`."""
    os.environ["KERAS_BACKEND"] = backend
    # TensorFlow turns oneDNN on by itself only on processors with AVX512-VNNI, AVX512-BF16 or AMX (release notes of
    # 2.9), although its convolutions and matrix products are written for AVX2 too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    share_gpus()
    if keras:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)  # set by a process that serves, and inherited
    else:  # TensorFlow imports Keras 3 at startup, unless it is told to use the Keras 2 package
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    hidden = () if backend == "jax" else ("jax",)
    if verbose:
        with without(*hidden):
            import tensorflow
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced(), without(*hidden):
        import tensorflow  # noqa: F401
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    # With causal attention, the first token attends only to itself, so a softmax over one value is correct.
    warnings.filterwarnings("ignore", "You are using a softmax over axis", UserWarning)


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Hide modules that are not imported yet.

    TensorFlow's converter imports JAX, which takes half a second, only to find out whether it is there.
    """
    hidden = [name for name in names if name not in sys.modules]
    nothing: Any = None  # what Python has for a module that cannot be imported
    sys.modules.update(dict.fromkeys(hidden, nothing))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def share_gpus() -> None:
    """Let GPU memory grow on demand instead of reserving all of it, so that trials and servers can share a GPU.

    TensorFlow reads this variable when it first uses a device. Listing the GPUs here would initialize them, and forked
    processes could then no longer use them.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def output_refused(error: OSError) -> bool:
    """Return whether a write to stdout failed, such as on a full disk; if so, redirect stdout to /dev/null."""
    refused = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    if refused:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise Python retries at exit and prints a traceback
    return refused


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hide what native libraries write directly to the stderr file descriptor, before log levels take effect.

    If an exception is raised, the hidden output is printed.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except Exception:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
