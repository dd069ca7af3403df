"""docs/metrics.md names every metric that the display and the diagnosis read."""

from __future__ import annotations

import re
from pathlib import Path

from rlvr.diagnosis import DEAD_REASONS, UNREADABLE_REASONS

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z_]+(?:/[a-z_<>]+)?")


def documented() -> set[str]:
    rows = [line.split("|")[1] for line in (ROOT / "docs/metrics.md").read_text().splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_names_are_well_formed_and_stand_once() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    names = documented()
    assert len(names) > 30
    assert all(NAME.fullmatch(name) for name in names)
    for name in names:
        assert len([row for row in text.splitlines() if row.startswith("| `") and f"`{name}`" in row.split("|")[1]]) == 1


def test_what_is_read_is_documented() -> None:
    read: set[str] = set()
    for file in ("progress.py", "diagnosis.py", "alarms.py"):
        source = (ROOT / "rlvr" / file).read_text()
        read |= set(re.findall(r'(?:get\(|metrics\[|\()"([a-z_]+(?:/[a-z_]+)?)"', source))
    assert {"reward/mean", "groups/all_wrong", "engine_gap", "grad_norm"} <= read
    codes = {*UNREADABLE_REASONS, *DEAD_REASONS}  # read as reasons/<code>
    assert read - codes <= documented()
