"""Keras task pipelines: from a config file to a trained, measured, exported and served Keras model."""

__version__ = "0.1.0"  # the one place: packaging, `--version` and the server read it here
