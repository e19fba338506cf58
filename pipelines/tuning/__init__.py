"""Search for the best values of the settings that a config marks with `tune`.

An oracle proposes the values of each trial, and a trial is a training run.
"""
