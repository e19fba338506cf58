"""Metrics that more than one task may use."""
