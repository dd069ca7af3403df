"""`rlvr watch` and `rlvr rollouts` on run folders made without a model."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from rlvr.commands.rollouts import print_rollouts, step_range
from rlvr.errors import RlvrError
from rlvr.rollout_query import Query, find_rollouts
from rlvr.run_record import read_run
from rlvr.watch import SPARKS, sparkline, view, watch
from tests.made_runs import made_run, step_metrics


def shown(path: Path, now: float | None = None) -> str:
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(view(read_run(path), time.time() if now is None else now))
        return console.export_text()


def test_watch_shows_where_the_run_is_and_what_rings(tmp_path: Path) -> None:
    dead = made_run(tmp_path, steps=12, evaluations=(12,), metrics=lambda s: step_metrics(0.1, groups__zero_variance=0.97))
    text = shown(dead)
    assert "rl 12/100   finished" in text
    assert "held-out  rl 12" in text
    assert "▲ alarm zero_signal: 97 % of the groups of 5 steps" in " ".join(text.split())
    (dead / "summary.json").unlink()
    assert "nothing for a long time" in shown(dead, time.time() + 3600)
    assert "nothing for a long time" not in shown(dead)
    assert "about 5:52 of rl left" in shown(dead)  # 88 steps of 4 s
    assert "reasons   mismatch 90 %   ok 10 %" in shown(dead)
    assert re.search(r"held-out  rl 12 [\d.]+ % \[[\d.]+, [\d.]+\]", shown(dead))


def test_watch_of_a_new_run_and_of_hostile_text(tmp_path: Path) -> None:
    fresh = made_run(tmp_path, "fresh", steps=0, finished=False)
    assert "no finished step yet" in shown(fresh)
    run = made_run(tmp_path, "odd", steps=1)
    record = json.loads((run / "metrics.jsonl").read_text())
    (run / "metrics.jsonl").write_text(json.dumps({**record, "diagnosis": "[red]\x1b[2Jcleared"}) + "\n")
    text = shown(run)
    assert "[red]\\x1b[2Jcleared" in text
    assert "\x1b" not in text


def test_watch_prints_once_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(made_run(tmp_path, steps=1, finished=False), Console(width=80))
    assert "reward 0.800" in capsys.readouterr().out


def test_sparkline_spans_its_values() -> None:
    assert sparkline([0.0, 1.0]) == SPARKS[0] + SPARKS[-1]
    assert sparkline([2.0, float("nan"), 2.0]) == SPARKS[0] + " " + SPARKS[0]
    assert len(sparkline([float(i) for i in range(1000)])) == 48


def test_rollouts_are_selected_by_every_criterion(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, steps=4, groups=3, evaluations=(4,)))
    everything = list(find_rollouts(run, Query()))
    assert len(everything) == 4 * 12
    assert len(list(find_rollouts(run, Query(evaluations=True)))) == 40
    row = everything[17]
    for query in (
        Query(step=(row["step"], row["step"])),
        Query(task=row["task_id"].upper()),
        Query(reason=row["reason"]),
        Query(min_score=0.5),
        Query(max_score=0.5),
        Query(min_tokens=30),
        Query(max_tokens=30),
        Query(text=row["completion"][3:20].upper()),
    ):
        found = list(find_rollouts(run, query))
        assert 0 < len(found) < len(everything), query
        assert [r for r in everything if query.matches(r) and (query.step is None or r["step"] == row["step"])] == found
    assert list(find_rollouts(run, Query(source="nowhere"))) == []


def test_json_lines_hold_every_column_and_stop_at_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path, steps=2)
    print_rollouts(run, Query(), Console(), limit=3, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3
    assert {"prompt", "completion", "sampled_logprobs", "advantage", "explanation", "verifier"} <= rows[0].keys()
    print_rollouts(run, Query(reason="none such"), Console(), limit=3, as_json=False)
    assert "no rollout matches" in capsys.readouterr().out


def test_steps_are_a_number_or_a_range() -> None:
    assert (step_range("7"), step_range("10-20"), step_range(None)) == ((7, 7), (10, 20), None)
    with pytest.raises(RlvrError, match="give a step or a range"):
        step_range("last")
