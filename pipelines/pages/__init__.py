"""Write what a run, a search, a comparison or an audit found as one HTML file that opens without a network.

`page` has the parts of a page and renders them, `details` measures what the page of a run shows beyond its files, and
each kind of page has its own module.
"""
