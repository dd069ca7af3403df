"""The named functions of the grammar: a closed list, with the spellings of each."""

from __future__ import annotations

TRIGONOMETRIC = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_OTHERS = "arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh ln log exp cis"
_SPELLINGS = {
    **{name: name for name in (*TRIGONOMETRIC, *_OTHERS.split())},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan")},
    "cosec": "csc", "tg": "tan", "ctg": "cot", "lg": "lg", "abs": "abs", "floor": "floor", "ceil": "ceil",
    "min": "min", "max": "max", "gcd": "gcd", "lcm": "lcm",
}  # fmt: skip
INVERSE = {name: f"arc{name}" for name in TRIGONOMETRIC}
OF_SEVERAL = frozenset(("min", "max", "gcd", "lcm"))


def function_name(spelling: str) -> str | None:
    r"""The function that a word or command (`sin`, `\sin`) names."""
    return _SPELLINGS.get(spelling.removeprefix("\\"))


def function_prefix(word: str) -> int:
    """Length of the function name that a run-together word such as `sinx` or `lnab` starts with; 0 where there is none."""
    for length in range(min(len(word) - 1, 6), 1, -1):
        if word[:length] in _SPELLINGS and word[:length] not in OF_SEVERAL and len(word) - length <= 2:
            return length
    return 0
