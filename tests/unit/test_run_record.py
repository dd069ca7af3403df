"""Reading run folders: what is there, under which name, and one clear line where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr.errors import RlvrError
from rlvr.run_record import read_run, read_runs
from tests.made_runs import made_run, step_metrics


def test_steps_evaluations_and_files_are_told_apart(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, steps=4, evaluations=(2, 4)))
    assert [record["step"] for record in run.steps("rl")] == [1, 2, 3, 4]
    assert run.stages == ["rl"]
    assert [(found.label, found.tokens, found.seconds) for found in run.held_out] == [
        ("rl 2", 1280.0, 8.0),
        ("rl 4", 2560.0, 16.0),
    ]
    files = run.rollout_files()
    assert [(file.step, file.evaluation) for file in files] == [
        *((s, None) for s in (1, 2, 3, 4)),
        (2, "heldout"),
        (4, "heldout"),
    ]
    assert run.summary == {"evaluations": [], "gains": {}}


def test_a_run_in_progress_has_no_summary(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, steps=1, finished=False, metrics=lambda step: step_metrics()))
    assert run.summary is None


def test_runs_of_the_same_name_keep_as_much_path_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [made_run(tmp_path / place, name, steps=1) for place, name in (("a", "x"), ("b", "x"), ("b", "y"))]
    assert [run.name for run in read_runs(paths)] == ["a/x", "b/x", "y"]
    with pytest.raises(RlvrError, match="given twice"):
        read_runs([paths[0], paths[1], paths[0]])


def test_what_is_no_run_folder_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"is not a run folder .* give the folder that `rlvr train` printed"):
        read_run(tmp_path)
    made_run(tmp_path, "one", steps=1)
    with pytest.raises(RlvrError, match=r"did you mean .*/one"):
        read_run(tmp_path)


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "a: ["), ("manifest.json", "{"), ("summary.json", "[1]")])
def test_a_damaged_file_is_named(tmp_path: Path, file: str, text: str) -> None:
    path = made_run(tmp_path, steps=1)
    (path / file).write_text(text)
    with pytest.raises(RlvrError, match=file):
        read_run(path)
