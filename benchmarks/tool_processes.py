"""What a process for each episode costs: opening one, and one call, beside an environment that stays in the trainer's process.

    python benchmarks/tool_processes.py [--episodes 64] [--output docs/results/tool_processes.json]

Episodes run side by side, as rollouts do; calls do next to nothing, so that what is measured is the way there and back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from rlvr_verifiers.tool_env import Environments, tool
from rlvr_verifiers.types import Task

HERE = f"{Path(__file__).resolve()}:"
TURN = '<tool_call>{"name": "add", "arguments": {"n": 1}}</tool_call>'


class Hosted:
    """A counter."""

    def reset(self, task: Task) -> None:
        self.count = 0

    @tool
    def add(self, n: int) -> int:
        """Adds.

        Args:
            n: how much.
        """
        self.count += n
        return self.count


class Inside(Hosted):
    in_process = True


def task(name: str) -> Task:
    return Task(id="t", prompt=(), verifier="tool_env", answer="", environment=HERE + name)


async def measured(name: str, episodes: int, calls: int) -> dict[str, float]:
    environments = Environments("hermes")
    async with environments.episode(task(name)):  # the server is up and has imported this file
        pass

    async def one(opened: list[float], called: list[float]) -> None:
        begin = time.perf_counter()
        async with environments.episode(task(name)) as episode:
            opened.append(time.perf_counter() - begin)
            for _ in range(calls):
                begin = time.perf_counter()
                await episode.observe(TURN)
                called.append(time.perf_counter() - begin)

    alone: tuple[list[float], list[float]] = [], []
    for _ in range(20):
        await one(*alone)
    begin = time.perf_counter()
    await asyncio.gather(*(one([], []) for _ in range(episodes)))
    seconds = time.perf_counter() - begin
    return {
        "open_ms": 1e3 * sorted(alone[0])[len(alone[0]) // 2],
        "call_ms": 1e3 * sorted(alone[1])[len(alone[1]) // 2],
        "side_by_side_calls_per_s": episodes * calls / seconds,
        "side_by_side_episodes_per_s": episodes / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    result: dict[str, Any] = {
        "command": f"python benchmarks/tool_processes.py --episodes {options.episodes} --calls {options.calls}",
        "commit": commit,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        **{name: asyncio.run(measured(name, options.episodes, options.calls)) for name in ("Hosted", "Inside")},
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
