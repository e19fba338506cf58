"""Search for the best values of what a config marks with `tune`: an oracle proposes, a trial is a training."""
