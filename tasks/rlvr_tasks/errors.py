"""The exception of this package, and the one case of it that a caller may choose to live with."""

from __future__ import annotations


class TaskError(ValueError):
    """A source, row or argument is not usable. Says what is wrong, where, and what to do next."""


class UnreadableGoldError(TaskError):
    """The row is sound but no gold can be read from its answer."""
