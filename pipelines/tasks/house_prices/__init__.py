"""House prices: predict a number from a table of columns."""
