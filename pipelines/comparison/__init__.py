"""Compare the models of a task under one budget, or finished runs on the same examples.

`ladder` trains every model with several seeds, through the trials of `tuning`. `standings` says what the scores tell.
`results` and `pictures` write them. `runs` compares finished runs.
"""
