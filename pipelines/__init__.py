"""Keras task pipelines: from a config file to a trained, measured, exported and served Keras model."""
