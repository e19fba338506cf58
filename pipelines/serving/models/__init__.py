"""Loaded models: versions, signatures, tensors, and the batching of requests."""
