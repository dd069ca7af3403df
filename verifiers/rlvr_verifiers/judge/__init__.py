"""`judge`: another language model's opinion, through any OpenAI-compatible endpoint. It verifies nothing, and is marked so.

A judge that is down, slow, refuses or answers nonsense is our failure and gives None, never 0. See verifiers/README.md.
"""

from rlvr_verifiers.judge.verifier import Judge

__all__ = ["Judge"]
