"""Programs that solve nothing: what a code task must not reward, whatever it asks for."""

from __future__ import annotations

import json
from typing import Any

_ECHO = "import sys\nsys.stdout.write(sys.stdin.read())\n"


def idle_programs(answer: str) -> tuple[str, ...]:
    """Completions with a program that does nothing, returns nothing, echoes its input, or says what the first case expects.

    `answer` is the gold of a code task that its verifier has accepted.
    """
    gold: dict[str, Any] = json.loads(answer)
    if gold["style"] == "stdio":
        constant = f"print({gold['cases'][0]['stdout'].rstrip()!r})\n"
        return tuple(map(_fenced, ("pass\n", _ECHO, constant)))
    name = gold["entry_point"]
    bodies = ("pass", "return args[0] if args else None", *([] if "check" in gold else [_constant(gold["cases"])]))
    return tuple(map(_fenced, ("pass\n", *(f"def {name}(*args, **kwargs):\n    {body}\n" for body in bodies))))


def _constant(cases: list[dict[str, Any]]) -> str:
    return f"return {cases[0]['expected']!r}"


def _fenced(program: str) -> str:
    return f"```python\n{program}```"
