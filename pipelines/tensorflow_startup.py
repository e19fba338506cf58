"""Import TensorFlow without its start-up chatter."""

import contextlib
import errno
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


def import_tensorflow(verbose: bool, keras: bool = True) -> None:
    """Import TensorFlow as Keras's backend, or without Keras; unless `verbose`, what it says of itself goes nowhere."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    share_gpus()
    if not keras:  # TensorFlow imports Keras 3 at its own start, unless told to look for the package of Keras 2
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if verbose:
        import tensorflow

        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced():
        import tensorflow  # noqa: F401
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    # The first token attends to itself alone, which is no mistake.
    warnings.filterwarnings("ignore", "You are using a softmax over axis", UserWarning)


def share_gpus() -> None:
    """Take memory of a GPU as it is needed, not all of it at the start, so that trials and servers can share one.

    TensorFlow heeds this when it first uses a device. To ask here which GPUs there are would use them, and no process
    could be forked off any more that does.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def output_refused(error: OSError) -> bool:
    """Say whether what is printed cannot be written, as to a file on a full disk; if so, print no more."""
    refused = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    if refused:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again as it ends, and says so at length
    return refused


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Turn away what libraries write to the error stream's file descriptor, past Python and before log levels count.

    Where an exception comes out, so does what was written.
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
