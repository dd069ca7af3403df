"""Refuses check code that would run what a program answers.

A check runs in a box of its own, whose word for "passed" is believed, and gets answers by value. One that gives an answer to `eval`, or
unpickles it, hands that word to the program. What answers reach is not to be known without running it, so the means are refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rlvr_verifiers.errors import VerifierError

_CALLS = frozenset({"eval", "exec", "compile", "__import__", "__builtins__", "breakpoint"})
_METHODS = frozenset({"eval", "exec", "import_module", "__import__", "__builtins__", "sympify", "parse_expr"})
_MODULES = frozenset(
    {
        "_pickle",
        "builtins",
        "cloudpickle",
        "code",
        "codeop",
        "ctypes",
        "dill",
        "imp",
        "importlib",
        "joblib",
        "jsonpickle",
        "marshal",
    }
    | {"pickle", "pty", "runpy", "shelve", "subprocess", "sympy"}
)
_OF_OS = frozenset({"system", "popen", "_exit", "abort", "kill", "killpg"})
_OF_OS_PREFIXES = ("exec", "spawn", "posix_spawn")


def refuse_execution(check: str, preamble: str) -> None:
    """Raises VerifierError where the check, or the code of the prompt that runs with it, can run text or bytes as code."""
    for what, source in (("check", check), ("preamble", preamble)):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise VerifierError(f"the task's {what} is not Python: {error}") from error
        for name, line in _means(tree):
            raise VerifierError(
                f"the task's {what} uses {name} (line {line}), by which an answer could run as code and declare itself right; "
                "compare values, or give cases instead of a check"
            )


def _means(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name in _CALLS:
                yield name, node.lineno
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if _runs(name):
                yield f"os.{name}", node.lineno
            case ast.Attribute(attr=name) if name in _METHODS:
                yield name, node.lineno
            case ast.Import(names=names):
                yield from ((each.name, node.lineno) for each in names if each.name.partition(".")[0] in _MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in _MODULES:
                    yield module, node.lineno
                yield from ((f"os.{each.name}", node.lineno) for each in names if module == "os" and _runs(each.name))
            case _:
                pass


def _runs(name: str) -> bool:
    return name in _OF_OS or name.startswith(_OF_OS_PREFIXES)
