"""The trainer's one exception: a mistake or failure a user can act on, shown as one line without a traceback."""


class RlvrError(RuntimeError):
    """Says what went wrong, where, and what to do next."""
