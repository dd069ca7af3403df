"""Finds a verifier by name: a built-in, a plug-in's entry point, `module:name`, or `path/file.py:name`, the last two also behind a
bridge (`trl:`, `verl:`, `verifiers:`).

Built-in names are reserved; a plug-in that claims one is reached by its import path. A verifier is loaded once per process.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.protocol import LoadedVerifier, adapt
from rlvr_verifiers.types import Task
from rlvr_verifiers.wire import task_to_wire

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "rlvr.verifiers"

BUILT_IN: Mapping[str, str] = {
    "choice": "rlvr_verifiers.choice:Choice",
    "code": "rlvr_verifiers.code:Code",
    "exact": "rlvr_verifiers.exact:Exact",
    "format": "rlvr_verifiers.format:Format",
    "ifeval": "rlvr_verifiers.ifeval:IfEval",
    "json_schema": "rlvr_verifiers.json_schema:JsonSchema",
    "judge": "rlvr_verifiers.judge:Judge",
    "math": "rlvr_verifiers.math:Math",
    "multi": "rlvr_verifiers.multi:Multi",
    "openai_grader": "rlvr_verifiers.bridges.openai_grader:OpenAIGrader",
    "regex": "rlvr_verifiers.regex:Regex",
    "reasoning_gym": "rlvr_verifiers.reasoning_gym:ReasoningGym",
    "sql": "rlvr_verifiers.sql:Sql",
    "tool_call": "rlvr_verifiers.tool_call:ToolCall",
    "tool_env": "rlvr_verifiers.tool_env:ToolEnv",
    "remote": "rlvr_verifiers.service.remote:Remote",
}

BRIDGES: Mapping[str, str] = {
    "trl": "rlvr_verifiers.bridges.trl:verifier_of",
    "verl": "rlvr_verifiers.bridges.verl:VerlScore",
    "verifiers": "rlvr_verifiers.bridges.prime:RubricVerifier",
}
"""Prefix of a name to what makes a verifier of the foreign function behind it."""

_loaded: dict[str, tuple[LoadedVerifier, ModuleType]] = {}
_lock = threading.RLock()  # a verifier's module may resolve other verifiers while it is imported


def available() -> dict[str, str]:
    """Name to import path of every built-in and plug-in. A plug-in that claims a taken name is listed by its import path."""
    names = dict(BUILT_IN)
    for name, points in _plug_ins().items():
        for point in points:
            names[point.value if name in BUILT_IN or len(points) > 1 else name] = point.value
    return names


def resolve(name: str) -> LoadedVerifier:
    """The verifier of that name. Raises VerifierError where there is none or it cannot be loaded."""
    return _load(name)[0]


def check_task(task: Task) -> str | None:
    """One line that says why this task cannot be judged, or None. Meant for the moment data is loaded.

    Raises VerifierError where the verifier itself cannot be loaded.
    """
    verifier = resolve(task.verifier)
    try:
        json.dumps(task_to_wire(task))
    except (TypeError, ValueError, RecursionError) as error:
        return f"task {task.id!r} is not plain JSON data ({error}); verifier_args, info and the like travel to worker processes as JSON"
    try:
        for required in verifier.required_verifiers(task):
            resolve(required)
        return verifier.check_task(task)
    except VerifierError as error:
        return str(error)
    except Exception as error:  # a plug-in's own check
        return f"check_task of verifier {task.verifier!r} raised {type(error).__name__}: {clip(str(error), 200)}"


def required_verifiers(task: Task) -> tuple[str, ...]:
    """Names of every verifier that scoring this task involves, its own first. Raises VerifierError as `resolve` does."""
    names = dict.fromkeys((task.verifier,))
    for name in resolve(task.verifier).required_verifiers(task):
        resolve(name)
        names[name] = None
    return tuple(names)


def is_verifiable(task: Task) -> bool:
    """Whether no part of the task's score is an opinion (a `judge`'s). Raises VerifierError as `resolve` does."""
    return all(resolve(name).verifiable for name in required_verifiers(task))


def version_of(name: str) -> str:
    """For a run's manifest: distribution, version, and a hash of the sources the verifier is made of.

    The hash covers every Python file of the verifier's top-level package (or its one file) and of the packages that it says it
    is built on, so a change can never go unnoticed; it may move for a change elsewhere in them. Raises VerifierError as
    `resolve` does.
    """
    verifier, module = _load(name)
    files = _sources_of(module)
    for package in verifier.built_on:
        files += _sources_of(importlib.import_module(package))
    return f"{_distribution_of(module)} sha256:{_hash_of(files)}"


def summary_of(name: str) -> str:
    """The first sentence about a verifier, from its own docstring or its module's; or why it cannot be loaded."""
    try:
        verifier, module = _load(name)
    except VerifierError as error:
        return str(error)
    kind = verifier.source if isinstance(verifier.source, FunctionType) else type(verifier.source)
    text = (kind.__doc__ or module.__doc__ or "").strip()
    return clip(text.partition("\n\n")[0], 140).removeprefix(f"`{name}`: ")


def file_of(name: str) -> Path:
    """The file that defines a verifier. Raises VerifierError as `resolve` does."""
    module = _load(name)[1]
    if module.__file__ is None:
        raise VerifierError(f"verifier {name!r}: its module {module.__name__} has no file")
    return Path(module.__file__)


def _load(name: str) -> tuple[LoadedVerifier, ModuleType]:
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name)
            if found is None:
                found = _loaded[name] = _import(name)
    return found


def _import(name: str) -> tuple[LoadedVerifier, ModuleType]:
    scheme, _, path = name.partition(":")
    bridged = scheme in BRIDGES and ":" in path
    path = path if bridged else _target_of(name)
    try:
        target, module = _object_at(name, path)
        if bridged:
            bridge, _ = _object_at(name, BRIDGES[scheme])
            target = cast("Callable[[object], object]", bridge)(target)
        return adapt(name, target), module
    except VerifierError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plug-in does on import
        reason = f"{type(error).__name__}: {clip(str(error), 200)}"
        location = path.rpartition(":")[0]
        raise VerifierError(f"verifier {name!r} cannot be loaded from {location}: {reason}; mend it or the name") from error


def _object_at(name: str, path: str) -> tuple[object, ModuleType]:
    """What stands at `module:attribute` or `file.py:attribute`, and its module."""
    location, separator, attribute = path.rpartition(":")
    if not separator or not location or not attribute:
        raise VerifierError(f"verifier {name!r}: give a registry name, module:name or path/file.py:name")
    module = file_module(location) if location.endswith(".py") else importlib.import_module(location)
    target: object = module
    for part in attribute.split("."):
        target = getattr(target, part)
    return target, module


def _target_of(name: str) -> str:
    if name in BUILT_IN:
        return BUILT_IN[name]
    if ":" in name:
        return name
    points = _plug_ins().get(name, ())
    if len(points) == 1:
        return points[0].value
    if points:
        claims = " and ".join(point.value for point in points)
        raise VerifierError(f"verifier {name!r} is claimed by {claims}; name the one you mean by its import path")
    known = available()
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise VerifierError(
        f"no verifier {name!r}; {hint}known: {', '.join(sorted(known))}; or give module:name or path/file.py:name"
    )


@functools.cache
def _plug_ins() -> Mapping[str, tuple[EntryPoint, ...]]:
    from importlib.metadata import entry_points  # 20 ms, which only plug-ins and versions cost

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if all(point.value != other.value for other in found.get(point.name, ())):  # an editable install may be listed twice
            found[point.name] = (*found.get(point.name, ()), point)
    return found


def file_module(path: str) -> ModuleType:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise VerifierError(f"verifier file {path!r} does not exist (looked at {file}); mend the path")
    import hashlib

    name = "rlvr_verifier_file_" + hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    with _lock:  # or a second thread would be given it half executed
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise VerifierError(f"verifier file {path!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickling look their module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _sources_of(module: ModuleType) -> list[Path]:
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [] if module.__file__ is None else [Path(module.__file__)]


def _hash_of(files: list[Path]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()[:16]


def _distribution_of(module: ModuleType) -> str:
    top = module.__name__.partition(".")[0]
    if top.startswith("rlvr_verifier_file_"):
        return Path(module.__file__ or "").name
    from importlib import metadata

    distributions = ("rlvr",) if top == "rlvr_verifiers" else metadata.packages_distributions().get(top, ())
    if not distributions:  # an editable install lists no modules, but its entry point names it
        points = [point for points in _plug_ins().values() for point in points]
        distributions = [p.dist.name for p in points if p.dist is not None and p.module.partition(".")[0] == top]
    try:
        return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(distributions))) or f"{top} (no version)"
    except metadata.PackageNotFoundError:
        return f"{top} (not installed)"
