"""`math`: is a mathematical answer the gold answer? Own extraction, own closed grammar, own arithmetic.

No eval, no symbolic library, no signals: it is safe on hostile text, bounded, thread-safe and never raises.

    from rlvr_verifiers.math import verify, parse

    verify(r"... so \\boxed{\\frac12}", "0.5").passed

`Policy` holds what is a matter of taste (the verifier_args of a task); `adapters` has the call shapes of other libraries.
"""

from rlvr_verifiers.math.parse import parse
from rlvr_verifiers.math.policy import Policy
from rlvr_verifiers.math.tree import UnreadableError
from rlvr_verifiers.math.verifier import Math, verify

__all__ = ["Math", "Policy", "UnreadableError", "parse", "verify"]
