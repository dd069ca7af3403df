"""`ifeval`: does the reply keep to instructions that can be checked by looking at it, such as its length, its format, its words?

The 25 kinds of instruction of IFEval (Zhou et al., 2023, arXiv:2311.07911), and its rows as they are published.
"""

from rlvr_verifiers.ifeval.verifier import IfEval

__all__ = ["IfEval"]
