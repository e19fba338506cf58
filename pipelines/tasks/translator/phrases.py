"""Phrases in two languages."""


def make_phrases(source: str, target: str, count: int):
    """Make phrases."""
    raise NotImplementedError
