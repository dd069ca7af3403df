"""Runs boxes for a long time and watches for anything that grows: descriptors, processes, mounts, control groups, memory.

    python benchmarks/sandbox_soak.py [--runs 200000] [--out soak.json]

Every tenth program is a hostile one. Exits with 1 where the second half of the run holds more than the first. `--out` adds what
this run held to a file, so that a long soak can be run in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from rlvr_sandbox import Call, Limits, Program, Sandbox

LIMITS = Limits(wall_s=5.0, cpu_s=5.0, memory_mb=256, processes=8)
HONEST = "def f(n):\n    return [n] * 10\n"
HOSTILE = (
    "import os\ndef f(n):\n    for _ in range(3):\n        if os.fork() == 0:\n            os.setsid()\n"
    "            os.read(os.pipe()[0], 1)\n    return 0",
    "import os\ndef f(n): os._exit(0)",
    "def f(n):\n    with open('big', 'wb') as file: file.write(bytes(8 << 20))\n    return len(bytearray(64 << 20))",
    "import os\nos.write(3, b'\\xff' * 100)\ndef f(n): return 0",
    "def f(n):\n    v = []\n    v.append(v)\n    return v",
)


def holdings() -> dict[str, int]:
    """What this process and its zygotes hold."""
    families = [os.getpid()]
    for pid in families:
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            families += [int(child) for child in file.read_text().split()]
    memory = sum(
        int(line.split()[1])
        for pid in families
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if "VmRSS" in line
    )
    return {
        "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in families),
        "processes": len(families),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "groups": sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/rlvr-box-{os.getpid()}-*")),
        "memory_kb": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs: int = options.runs
    checkpoints: list[dict[str, int]] = []
    begin = time.monotonic()
    with Sandbox(zygotes=2) as sandbox:
        for number in range(runs + 1):
            source = HOSTILE[number // 10 % len(HOSTILE)] if number % 10 == 0 else HONEST
            program = Program(source=source, mode="function", entry_point="f", limits=LIMITS)
            result = sandbox.run_now(program, call=Call(args=(number,)))
            assert source is not HONEST or result.value == [number] * 10, result
            if number and number % max(1, runs // 10) == 0:
                checkpoints.append(holdings())
                print(f"{number} runs, {number / (time.monotonic() - begin):.0f} a second: {checkpoints[-1]}", flush=True)
        restarts = sandbox.restarts
    if options.out:
        parts = json.loads(options.out.read_text()) if options.out.exists() else []
        parts.append(
            {"runs": runs, "seconds": round(time.monotonic() - begin, 1), "restarts": restarts, "held": checkpoints}
        )
        options.out.write_text(json.dumps(parts, indent=1) + "\n")
    half = checkpoints[: len(checkpoints) // 2 + 1]  # a box that is being made comes and goes, so their largest counts
    grown = [
        name
        for name, held in checkpoints[-1].items()
        if held > max(point[name] for point in half) * (1.02 if name == "memory_kb" else 1)
    ]
    if grown or restarts:
        raise SystemExit(f"grown: {', '.join(grown) or 'nothing'}; zygotes restarted: {restarts}")


if __name__ == "__main__":
    main()
