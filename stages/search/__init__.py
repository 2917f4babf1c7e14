"""Search for a net under a budget: what candidates are drawn from, and how.

`counting` gives the cost of a candidate from its description alone, `space` draws candidates. A candidate is the
[model] table of SCRFD's recipe: data, from which the net is built like any other.
"""
