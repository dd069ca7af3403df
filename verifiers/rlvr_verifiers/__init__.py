"""Verifiers: what scores a completion. Import light, never torch.

The pool of killable workers is `rlvr_verifiers.pool.VerifierPool`; it is not imported here, so that a verifier's own process
does not pay for it.
"""

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import Verifier
from rlvr_verifiers.registry import available, check_task, required_verifiers, resolve, version_of
from rlvr_verifiers.scoring import score_group_now, score_now
from rlvr_verifiers.types import Completion, Score, Task

__all__ = [
    "Completion",
    "Score",
    "Task",
    "Verifier",
    "VerifierError",
    "available",
    "check_task",
    "required_verifiers",
    "resolve",
    "score_group_now",
    "score_now",
    "version_of",
]
