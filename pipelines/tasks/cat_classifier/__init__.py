"""Cat classifier: assign images to classes."""
