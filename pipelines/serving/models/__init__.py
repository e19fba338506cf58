"""Loaded models: versions, signatures, tensors and request batching."""
