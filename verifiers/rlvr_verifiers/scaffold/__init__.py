"""A new verifier from templates: a small installable package, or one file with its cases."""

from __future__ import annotations

import keyword
import re
import string
from pathlib import Path

from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.registry import BUILT_IN

_PACKAGE = {
    "pyproject.toml": ("pyproject.toml.txt",),
    "README.md": ("README.md.txt",),
    "{name}/__init__.py": ("package.py.txt",),
    "{name}/cases.jsonl": ("cases.jsonl.txt", "package_cases.jsonl.txt"),
    "tests/test_{name}.py": ("test.py.txt",),
}
_FILE = {"{name}.py": ("file.py.txt",), "{name}_cases.jsonl": ("cases.jsonl.txt",)}


def new_verifier(name: str, folder: Path, *, single_file: bool = False) -> list[Path]:
    """Writes the package `folder/name`, or `folder/name.py` with its cases, and returns the files.

    Raises VerifierError for a name that cannot be used and for files that exist; nothing is overwritten.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise VerifierError(
            f"{name!r} cannot be a verifier's name; use small letters, digits and underscores, as in word_count"
        )
    if name in BUILT_IN:
        raise VerifierError(f"{name!r} is a built-in verifier; choose another name")
    home = folder if single_file else folder / name
    files = {home / place.format(name=name): parts for place, parts in (_FILE if single_file else _PACKAGE).items()}
    for path in files:
        if path.exists():
            raise VerifierError(f"{path} exists already; choose another name or folder")
    for path, parts in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(_filled(part, name) for part in parts), encoding="utf-8")
    return list(files)


def _filled(template: str, name: str) -> str:
    text = (Path(__file__).parent / "templates" / template).read_text(encoding="utf-8")
    return string.Template(text).substitute(name=name) if not template.endswith("jsonl.txt") else text
