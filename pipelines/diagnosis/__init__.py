"""Say whether a trained model is biased, overfits, or was validated on other data than it was trained on.

`gaps` measures the error of each split, and `verdict` says which gaps between them matter. `recipe` proposes what to
change, as configs, and `signs` looks for the reasons in the history and in the layers. `results` writes all of it.
"""
