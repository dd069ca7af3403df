"""Names of runs: a new one for each start, the newest one to resume, and the check that it is the same run."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rlvr.errors import RlvrError
from rlvr.run_folder import CONFIG

MAY_CHANGE = (
    "verification", "checkpoint", "tracking", "alarms", "output_dir", "run_name", "rl.steps", "eval.every", "continue_if",
    "engine.max_model_len", "engine.max_sequences", "engine.gpu_memory_utilization",
)  # fmt: skip
"""What a resumed run may change without becoming another experiment. `rl.steps` extends a run; with a learning-rate schedule
that depends on it, the rest of the schedule changes too."""


def new_run_name(recipe: str, now: datetime.datetime) -> str:
    return f"{recipe}-{now:%Y%m%d-%H%M%S}"


def newest_run(output_dir: Path, recipe: str) -> str:
    """The newest run folder of that recipe, with a config to resume with. Raises `RlvrError` where there is none."""
    pattern = re.compile(re.escape(recipe) + r"-\d{8}-\d{6}")
    found = (file.parent.name for file in output_dir.glob(f"{recipe}-*/{CONFIG}"))
    names = [name for name in found if pattern.fullmatch(name)]
    if not names:
        raise RlvrError(
            f"--resume: no run of {recipe} in {output_dir}/; start one without --resume, or name it with run_name=..."
        )
    return max(names)


def check_same_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises `RlvrError` where the config differs from the run's own in anything that would make it another experiment."""
    file = folder / CONFIG
    if not file.is_file():
        raise RlvrError(f"--resume: {folder} is not a run folder; start a run without --resume")
    before = flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    now = flat(config)
    changed = [
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(key == k or key.startswith(f"{k}.") for k in MAY_CHANGE)
    ]
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        raise RlvrError(
            f"--resume: the config differs from that of {folder}: {'; '.join(changed[:3])}{more}. Resume with the run's own config "
            f"({file}), or start a new run without --resume"
        )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": [1, 2]}}` as `{"a.b.0": 1, "a.b.1": 2}`: the keys by which the command line names settings."""
    if isinstance(value, Mapping) and value:
        return {k: v for name, part in value.items() for k, v in flat(part, f"{prefix}{name}.").items()}
    if isinstance(value, list | tuple) and value:
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{prefix}{i}.").items()}
    return {prefix.removesuffix("."): value}
