"""Published data sets for tests that want real rows: a folder on this machine, where there is one. Nothing is fetched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def local_file(name: str) -> Path:
    """In RLVR_DATA, or in a folder `shared/data` beside the checkout; the test is skipped where it is in neither."""
    named = os.environ.get("RLVR_DATA")
    path = (Path(named) if named else Path(__file__).parents[2] / "shared" / "data") / name
    if not path.exists():
        pytest.skip(f"no {name}; RLVR_DATA may name its folder")
    return path


def local_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in local_file(name).read_text(encoding="utf-8").splitlines()]
