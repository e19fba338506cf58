"""Import TensorFlow, without its startup messages, in the fork server, so that no trial's process has to."""

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

from pipelines.tuning import trials  # noqa: E402, F401 - after TensorFlow, which it would import with its startup messages
