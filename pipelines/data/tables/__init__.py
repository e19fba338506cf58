"""Read tables: first the cells as text, then the types of the columns."""
