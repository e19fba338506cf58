"""Decide which differences are significant: intervals of metrics, and comparisons over seeds.

For example, `share_interval(83, 100)` says that an accuracy of 0.83 on 100 examples may be anything from 0.74 to 0.89.
`intervals` has the intervals of shares, `bootstrap` those of any other metric of one model, and of the difference of
two models on the same examples. `seeds` compares models that were trained several times.
"""
