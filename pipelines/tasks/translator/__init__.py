"""Translator: a sentence of one language in another."""
