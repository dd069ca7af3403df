"""`math`: is a mathematical answer the gold answer? Own extraction, own closed grammar, exact arithmetic.

No eval, no symbolic library, no signals: it is safe on hostile text, bounded, thread-safe and never raises. What it reads:
integers, decimals, thousands separators, fractions, mixed numbers, percent, money and units, scientific notation, roots,
pi and i, polynomials and their quotients, tuples, intervals, unions, sets, lists, letters and plain text.

verifier_args: `tolerance` (relative, default 0: numbers are compared exactly).
"""

from rlvr_verifiers.math.parse import parse
from rlvr_verifiers.math.tree import UnreadableError
from rlvr_verifiers.math.verifier import Math, verify

__all__ = ["Math", "UnreadableError", "parse", "verify"]
