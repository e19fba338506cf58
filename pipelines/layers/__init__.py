"""Keras layers that are shared between tasks."""
