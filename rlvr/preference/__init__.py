"""Learning from preferences: pairs of a chosen and a rejected completion, or single completions called good or bad.

The objectives (`dpo.py` and its neighbours), what they are handed (`contract.py`), data and its checks, the frozen reference's
log-probs, and the measurement of a policy on held-out pairs. The stage itself is rlvr/stages/preference.py.
"""
