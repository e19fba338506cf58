"""Tables: cells as text, then the types of their columns."""
