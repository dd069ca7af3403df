"""Presets: what they set, that they are light to load, and that the documentation shows what they set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlvr import algorithms
from rlvr.algorithms import ALGORITHMS
from rlvr.config.schema import AlgorithmConfig, RlConfig, TasksConfig

ROOT = Path(__file__).parents[2]
PIECES = [
    "advantage",
    "objective",
    "clip_low",
    "clip_high",
    "token_weights",
    "kl_coef",
    "kl_estimator",
    "kl_placement",
    "dynamic_sampling",
    "overlong_buffer_tokens",
    "overlong_filter",
]
NO_CLIP = {"reinforce"}


def table() -> str:
    """The presets as the Markdown table of docs/algorithms.md."""

    def cell(value: Any) -> str:
        return "-" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"

    rows = [["piece", *ALGORITHMS], ["---"] * (len(ALGORITHMS) + 1)]
    rows += [[f"`{piece}`", *(cell(preset.get(piece)) for preset in ALGORITHMS.values())] for piece in PIECES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rl_config(**settings: Any) -> RlConfig:
    return RlConfig(tasks=(TasksConfig(source="arithmetic"),), **settings)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_preset_is_valid_and_states_every_piece_that_makes_it(name: str) -> None:
    preset = ALGORITHMS[name]
    config = AlgorithmConfig(preset=name, **preset)
    expected = set(PIECES) - ({"clip_low", "clip_high"} if config.objective in NO_CLIP else set())
    assert set(preset) == expected
    rl_config(algorithm=config)  # and fits the default limits of a run


def test_the_default_config_is_the_grpo_preset() -> None:
    assert AlgorithmConfig() == AlgorithmConfig(preset="grpo", **ALGORITHMS["grpo"])


def test_no_two_presets_are_the_same() -> None:
    configs = [AlgorithmConfig(**preset) for preset in ALGORITHMS.values()]
    assert all(a != b for i, a in enumerate(configs) for b in configs[:i])


def test_every_file_is_a_preset_with_a_docstring_that_names_paper_and_departures() -> None:
    files = {path.stem for path in Path(algorithms.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(ALGORITHMS)
    for name in files:
        doc = getattr(algorithms, name).__doc__
        assert "arXiv:" in doc, name
        assert "Where ours departs:" in doc, name


def test_reading_presets_and_schema_does_not_import_torch() -> None:
    code = "import sys, rlvr.algorithms, rlvr.config.schema, rlvr.rewards, rlvr.advantages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_documentation_shows_the_presets() -> None:
    text = (ROOT / "docs/algorithms.md").read_text(encoding="utf-8")
    shown = text.split("checked by tests/unit/test_algorithms.py -->\n")[1].split("\n<!-- end of presets -->")[0]
    assert shown == table(), f"docs/algorithms.md is out of date; its table should be:\n{table()}"


def test_a_buffer_beyond_the_limit_is_refused_before_the_run() -> None:
    dapo = AlgorithmConfig(preset="dapo", **ALGORITHMS["dapo"])
    with pytest.raises(ValidationError, match=r"overlong_buffer_tokens \(102\) is beyond max_completion_tokens \(40\).* 8"):
        rl_config(algorithm=dapo, max_completion_tokens=40)


def test_uncorrected_reinforce_over_several_updates_is_refused() -> None:
    rloo = ALGORITHMS["rloo"]
    rl_config(algorithm=AlgorithmConfig(**rloo), updates_per_batch=2)
    rl_config(algorithm=AlgorithmConfig(**rloo, importance_correction="none"), updates_per_batch=1)
    with pytest.raises(ValidationError, match="wrong from the second update"):
        rl_config(algorithm=AlgorithmConfig(**rloo, importance_correction="none"), updates_per_batch=2)
