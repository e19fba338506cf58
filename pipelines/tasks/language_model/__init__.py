"""Language model: the next token of a text, and the ones after it."""
