"""Import TensorFlow without its start-up chatter."""

import os
import sys
import tempfile


def import_tensorflow(verbose: bool, keras: bool = True) -> None:
    """Import TensorFlow as Keras's backend, or without Keras; unless `verbose`, what it says of itself goes nowhere.

    TensorFlow writes to the error stream's file descriptor before its log level counts, so the descriptor is turned
    away for the time of the import; where the import fails, what was written comes out.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not keras:  # TensorFlow imports Keras 3 at its own start, unless told to look for the package of Keras 2
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if verbose:
        import tensorflow

        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except Exception:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    from absl import logging

    logging.set_verbosity(logging.ERROR)
