"""Check the data for problems: duplicates, leakage, label errors and shift between splits."""
