"""The one exception of this package: our side failed, never the program."""


class SandboxError(RuntimeError):
    """Says in one line what could not be done and what to do next. What a program does never raises it."""
