"""Export a trained model, compare it with its run and describe it."""
