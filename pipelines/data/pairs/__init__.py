"""Pairs of texts in two languages."""
