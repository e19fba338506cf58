"""What the server of trials' processes imports, so that none of them has to: TensorFlow, without its chatter."""

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

from pipelines.tuning import trials  # noqa: E402, F401 - after TensorFlow, which it would import with its chatter
