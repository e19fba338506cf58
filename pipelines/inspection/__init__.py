"""Look inside a model: its layers, what they cost, and what they do on a few examples."""
