"""`rlvr report`: everything a run says, as one HTML file that opens from disk without a network.

page.py        what goes into the file, and the file itself
narrative.py   what happened, in words
tables.py      scores, reasons, config differences, provenance: counted over all rollouts
rollouts.py    which rollouts are embedded, and how they are packed
tokens.py      where each token's text ends, so that log-probs can be shown on it
page.html, page.css, *.js   the page
"""
