"""Language model: predict the next token of a text, and generate text."""
