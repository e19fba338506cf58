"""Translator: translate sentences from one language to another."""
