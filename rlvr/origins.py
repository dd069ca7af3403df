"""What made the runs of a comparison, and where that is not the same for all: code, versions, verifiers, sandbox, machine, start.

Configs say what was meant to differ; manifests say what else did. A run made by other code is no control for one made by this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.run_record import RunRecord

Manifest = Mapping[str, Any]


def origin(runs: Sequence[RunRecord]) -> str:
    """Days, commits and machines of the runs in one line; several of a kind are all named."""
    days = sorted(str(run.manifest.get("started", "unknown"))[:10] for run in runs)
    facts = [_facts(run.manifest) for run in runs]
    commits, machines = (list(dict.fromkeys(fact[what] for fact in facts)) for what in ("commit", "machine"))
    return ", ".join([" to ".join(dict.fromkeys((days[0], days[-1]))), *(f"commit {c}" for c in commits), *machines])


def unlike(runs: Sequence[RunRecord]) -> list[str]:
    """One sentence for each thing that should be the same for all runs and is not."""
    facts = {run.name: _facts(run.manifest) for run in runs}
    sentences: list[str] = []
    for what in dict.fromkeys(what for fact in facts.values() for what in fact):
        made: dict[str, list[str]] = {}
        for name, fact in facts.items():
            made.setdefault(fact.get(what, "none"), []).append(name)
        if len(made) > 1:
            shown = "; ".join(f"{value} ({_named(names)})" for value, names in made.items())
            sentences.append(f"The runs do not have the same {what}, which may be part of any difference: {shown}.")
    return sentences


def _facts(manifest: Manifest) -> dict[str, str]:
    def section(name: str) -> Mapping[str, Any]:
        return manifest.get(name) or {}

    hashes = section("hashes")
    return {
        "commit": _commit(section("git").get("rlvr"), section("versions").get("rlvr")),
        "machine": _machine(section("machine")),
        "adapter to start from": str(hashes.get("adapter", "none"))[:19],
        **{f"version of {name}": str(value) for name, value in section("versions").items()},
        **{f"verifier {name}": str(value) for name, value in section("verifiers").items()},
        **{f"sandbox {name}": str(value) for name, value in section("sandbox").items()},
    }


def _commit(git: Mapping[str, Any] | None, version: Any) -> str:
    if not git:
        return f"unknown (rlvr {version or 'of unknown version'} as installed)"
    return f"{git['commit'][:12]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _machine(machine: Mapping[str, Any]) -> str:
    gpus = ", ".join(gpu["name"] for gpu in machine.get("gpus") or ()) or "no GPU"
    return f"{machine.get('cores', '?')} cores of {machine.get('cpu', 'an unknown processor')}, {gpus}"


def _named(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
