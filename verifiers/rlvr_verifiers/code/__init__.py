"""The `code` verifier: runs the program of a completion in a sandbox and compares what it does with what the task expects."""

from rlvr_verifiers.code.verifier import Code

__all__ = ["Code"]
