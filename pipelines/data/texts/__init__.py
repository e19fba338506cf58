"""Read running text."""
