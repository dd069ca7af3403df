"""Another verifier with its effects written down: runs in a worker process of the audit's own pool, and nowhere else.

verifier_args: {"target": verifier, "log": file that takes one JSON line an effect, "folder": the one folder it may write into}.
Where the kernel has Landlock, the process can write nowhere else and open no TCP connection from the first completion on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Awaitable

from rlvr_sandbox import kernel, landlock
from rlvr_verifiers.audit.attacks import CANARY
from rlvr_verifiers.effects import Effect, watch
from rlvr_verifiers.protocol import as_score
from rlvr_verifiers.registry import required_verifiers, resolve
from rlvr_verifiers.types import Completion, Score, Task

_log = -1
"""Opened before the walls close, since it lies outside them."""


class Observed:
    def required_verifiers(self, task: Task) -> list[str]:
        return list(required_verifiers(_inner(task)))

    async def score(self, task: Task, completion: Completion) -> Score:
        arguments = task.verifier_args
        inner, verifier = _inner(task), resolve(str(arguments["target"]))
        log = _confine(str(arguments["folder"]), str(arguments["log"]))

        def tell(effect: Effect) -> None:
            line = json.dumps({"attack": arguments["attack"], "kind": effect.kind, "what": effect.what})
            os.write(log, line.encode("utf-8", "replace") + b"\n")

        with watch(tell, mark=CANARY):
            judgement = verifier.function(inner, completion)
            if isinstance(judgement, Awaitable):
                judgement = await judgement
            return as_score(judgement, verifier.name)


def _inner(task: Task) -> Task:
    arguments = task.verifier_args
    return dataclasses.replace(task, verifier=str(arguments["target"]), verifier_args=arguments["args"])


def confinement() -> str:
    """What holds a target back on this machine, in words."""
    abi = landlock.version()
    network = ", no TCP" if abi >= 4 else ""
    walls = (
        f"Landlock {abi}: writes into one temporary folder only{network}"
        if abi
        else "no Landlock on this kernel: not confined"
    )
    return f"a process that is killed at its deadline; {walls}"


def _confine(folder: str, log: str) -> int:
    """Once a process. The log's descriptor."""
    global _log
    if _log >= 0:
        return _log
    _log = os.open(log, os.O_WRONLY | os.O_APPEND)
    sys.dont_write_bytecode = True  # a late import is not the target's own writing
    os.chdir(folder)
    abi = landlock.version()
    if abi:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        held = _up_to_two_in_a_row()
        free = held[-2]
        for descriptor in held[-2:]:
            os.close(descriptor)
        kernel.make(landlock.restrict(abi, readable=["/"], writable=[folder], devices=["/dev/null"], free=free))
        for descriptor in held[:-2]:
            os.close(descriptor)
    return _log


def _up_to_two_in_a_row() -> list[int]:
    """Descriptors opened in the lowest free places, the last two side by side: where Landlock's own will be."""
    held = [os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)]
    while held[-1] != held[-2] + 1:
        held.append(os.open("/dev/null", os.O_RDONLY))
    return held
