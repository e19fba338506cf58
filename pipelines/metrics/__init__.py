"""Metrics that are shared between tasks."""
