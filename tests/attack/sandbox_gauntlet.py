"""All cheats and all honest programs on one backend, with nothing but the standard library and `rlvr_sandbox`, so that it can be run by
any user and any Python: `python sandbox_gauntlet.py BACKEND` prints one line of JSON. Values are compared here, exactly."""

from __future__ import annotations

import functools
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from code_cheats import CHEATS
from code_honest import FUNCTIONS, PROGRAMS

from rlvr_sandbox import Limits, Program, Sandbox, SandboxError, describe

CHEATING = Limits(wall_s=1.5, cpu_s=1, memory_mb=256, processes=8)
HONEST = Limits(wall_s=60, cpu_s=20, memory_mb=512)
HIDDEN = {n: n * 7919 + 104729 for n in (1, 2, 3, 12, 57)}
DOUBLE = {n: n * 2 for n in (0, 3, 21)}


def solves(sandbox: Sandbox, source: str, cases: dict[int, int], limits: Limits, kinds: tuple[type, ...]) -> bool:
    with sandbox.open(Program(source=source, mode="function", entry_point="answer", limits=limits)) as box:
        outcomes = {n: box.call((n,)) for n in cases}
    return all(
        outcomes[n].status == "ok" and type(outcomes[n].value) in kinds and outcomes[n].value == cases[n] for n in cases
    )


def prints(sandbox: Sandbox, source: str) -> bool:
    result = sandbox.run_now(Program(source=source, limits=HONEST), stdin=b"1\n-5\n21\n")
    return result.status == "ok" and result.stdout.split() == [b"2", b"-10", b"42"]


def main(backend: str) -> None:
    with Sandbox(backend, zygotes=4) as sandbox, ThreadPoolExecutor(4) as pool:
        walls = sandbox.walls()
        jobs = {
            ("attacks", name): functools.partial(solves, sandbox, source, HIDDEN, CHEATING, (int,))
            for name, source in CHEATS.items()
        }
        jobs |= {
            ("functions", name): functools.partial(solves, sandbox, source, DOUBLE, HONEST, (int, float))
            for name, source in FUNCTIONS.items()
        }
        jobs |= {("programs", name): functools.partial(prints, sandbox, source) for name, source in PROGRAMS.items()}
        running = {key: pool.submit(job) for key, job in jobs.items()}
        passed: dict[tuple[str, str], bool] = {}
        failures: list[str] = []
        for key, future in running.items():
            try:
                passed[key] = future.result()
            except SandboxError as error:
                failures.append(f"{key[1]}: {error}")
        print(
            json.dumps(
                {
                    "walls": describe(walls),
                    "paid": [name for (kind, name), good in passed.items() if good and kind == "attacks"],
                    "unpaid": [name for (kind, name), good in passed.items() if not good and kind != "attacks"],
                    "failures": failures,
                    "restarts": sandbox.restarts,
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1])
