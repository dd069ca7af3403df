"""Reads a task's `verifier_args` strictly: every value typed, every unknown key an error with a suggestion."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rlvr_verifiers.errors import VerifierError


class ArgumentReader:
    """Ask for every argument by name, then call `finish`. Each method raises VerifierError on a value of the wrong type."""

    def __init__(self, verifier: str, arguments: Mapping[str, Any]) -> None:
        self._verifier = verifier
        self._arguments = arguments
        self._known: list[str] = []

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        return value if isinstance(value, bool) else self._refuse(name, value, "true or false")

    def text(self, name: str) -> str | None:
        value = self._get(name, None)
        return value if value is None or (isinstance(value, str) and value) else self._refuse(name, value, "non-empty text")

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        """The first of `allowed` is the default."""
        value = self._get(name, allowed[0])
        return value if value in allowed else self._refuse(name, value, "one of " + ", ".join(allowed))

    def number(self, name: str, default: float, *, minimum: float = -math.inf) -> float:
        value = self._get(name, default)
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= minimum
        floor = "" if minimum == -math.inf else f" of at least {minimum:g}"
        return float(value) if good else self._refuse(name, value, f"a finite number{floor}")

    def texts(self, name: str) -> tuple[str, ...]:
        items = self._list(name, "a list of non-empty texts")
        texts = tuple(item for item in items if isinstance(item, str) and item)
        return texts if len(texts) == len(items) else self._refuse(name, items, "a list of non-empty texts")

    def pattern(self, name: str) -> re.Pattern[str] | None:
        source = self.text(name)
        return None if source is None else compiled(self._verifier, name, source)

    def items(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """A list of objects with at least one in it."""
        items = self._list(name, "a non-empty list of objects")
        objects = tuple(cast(Mapping[str, Any], item) for item in items if isinstance(item, Mapping))
        return objects if items and len(objects) == len(items) else self._refuse(name, items, "a non-empty list of objects")

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self._get(name, {})
        return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else self._refuse(name, value, "an object")

    def finish(self) -> None:
        """Raises VerifierError where a key was given that nobody asked for."""
        for key in self._arguments:
            if key not in self._known:
                import difflib  # only a mistake pays for it

                near = difflib.get_close_matches(str(key), self._known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self._known) or 'none'}"
                raise VerifierError(f"verifier_args of {self._verifier!r} has an unknown key {key!r}; {hint}")

    def _get(self, name: str, default: Any) -> Any:
        self._known.append(name)
        value = self._arguments.get(name)
        return default if value is None else value  # Arrow fills absent keys with null

    def _list(self, name: str, wanted: str) -> tuple[object, ...]:
        value: object = self._get(name, ())
        return tuple(cast(Sequence[object], value)) if isinstance(value, list | tuple) else self._refuse(name, value, wanted)

    def _refuse(self, name: str, value: object, wanted: str) -> Any:
        raise VerifierError(f"verifier_args of {self._verifier!r}: {name!r} is {clip(repr(value), 80)}; give {wanted}")


def compiled(verifier: str, name: str, source: str) -> re.Pattern[str]:
    """The task author's regular expression. Raises VerifierError where it does not compile."""
    try:
        return re.compile(source)
    except (re.error, OverflowError, RecursionError) as error:
        raise VerifierError(
            f"verifier {verifier!r}: {name!r} is not a regular expression ({error}): {clip(source, 80)!r}"
        ) from error


def clip(text: str, length: int) -> str:
    """At most `length` characters on one line, for messages that quote data."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[: length - 3] + "..."
