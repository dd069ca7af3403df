"""The one exception of this package."""

from __future__ import annotations


class TaskError(ValueError):
    """A source, row or argument is not usable. Says what is wrong, where, and what to do next."""
