"""Read pairs of texts in two languages."""
