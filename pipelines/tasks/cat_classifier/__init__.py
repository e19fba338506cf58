"""Cat classifier: a class from an image."""
