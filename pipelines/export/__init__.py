"""Export a trained model: write, compare with the run, describe."""
