"""Layers that more than one task uses, or that are of no task in particular."""
