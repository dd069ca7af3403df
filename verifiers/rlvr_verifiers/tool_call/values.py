"""What a gold argument accepts: one value, one of several, an object or list of such, a number within a tolerance.

True is never 1, "5" never 5, and an int counts where the gold is the same number as a float.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol, cast

Strings = Literal["exact", "casefold", "bfcl"]
STRINGS: tuple[Strings, ...] = ("exact", "casefold", "bfcl")

_BFCL_IGNORED = str.maketrans("", "", " ,./-_*^")


class Accepts(Protocol):
    def accepts(self, value: object) -> bool: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Exactly:
    """A scalar."""

    wanted: object
    strings: Strings = "exact"

    def accepts(self, value: object) -> bool:
        wanted = self.wanted
        if isinstance(wanted, str):
            return isinstance(value, str) and normal(value, self.strings) == normal(wanted, self.strings)
        if wanted is None or isinstance(wanted, bool):
            return value is wanted
        return isinstance(value, int | float) and not isinstance(value, bool) and value == wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Near:
    wanted: float
    tolerance: float
    """Absolute."""

    def accepts(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value - self.wanted) <= self.tolerance


@dataclasses.dataclass(frozen=True, slots=True)
class AnyOf:
    options: tuple[Accepts, ...]

    def accepts(self, value: object) -> bool:
        return any(option.accepts(value) for option in self.options)


@dataclasses.dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Accepts, ...]

    def accepts(self, value: object) -> bool:
        if not isinstance(value, list):
            return False
        items = cast("list[object]", value)
        return len(items) == len(self.items) and all(
            wanted.accepts(item) for wanted, item in zip(self.items, items, strict=True)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectOf:
    members: Mapping[str, Accepts]
    optional: frozenset[str] = frozenset()
    """Keys that may be left out."""

    def accepts(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        given = cast("Mapping[str, object]", value)
        return all(key in self.members for key in given) and all(
            wanted.accepts(given[key]) if key in given else key in self.optional for key, wanted in self.members.items()
        )


def normal(text: str, strings: Strings) -> str:
    """What of a string is compared. `bfcl` is the leaderboard's own rule, which cannot tell -7.5 from 75: for comparisons only."""
    if strings == "exact":
        return text
    if strings == "casefold":
        return text.casefold()
    return text.translate(_BFCL_IGNORED).lower().replace("'", '"')
