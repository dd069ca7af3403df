"""The one exception of this package: a verifier, its arguments or its worker cannot be used."""


class VerifierError(RuntimeError):
    """Says in one line what went wrong, where, and what to do next. Never raised for what a policy wrote."""
