"""House prices: one number from a table of columns."""
