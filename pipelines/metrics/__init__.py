"""Metrics that have no well-kept implementation to call."""
