"""A run folder holds everything once, whatever interrupts the run."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from rlvr.errors import RlvrError
from rlvr.redaction import REDACTED, Redactor
from rlvr.run_folder import RunFolder, read_metrics, write_atomically
from rlvr.run_name import newest_run
from rlvr.types import Group, Rollout
from rlvr_verifiers.types import Completion, Score, Task

SECRET = Redactor({"JUDGE_API_KEY": "s3cr3t-value"})


def new_folder(root: Path, name: str = "demo") -> RunFolder:
    return RunFolder.create(root, name, SECRET)


def rollout(task: str, text: str, value: float | None, explanation: str = "", parsed: str | None = None) -> Rollout:
    return Rollout(
        task=Task(
            id=task, prompt=({"role": "user", "content": "1 + 1?"},), verifier="exact", answer="2", data_source="sums"
        ),
        completion=Completion(
            text=text, prompt_ids=(1, 2), token_ids=(3, 4), sampled_logprobs=(-0.5, -0.25), loss_mask=(True, False)
        ),
        score=Score(
            value=value,
            passed=value == 1.0,
            reason="ok" if value == 1.0 else "mismatch",
            explanation=explanation,
            parsed=parsed,
        ),
        reward=(value or 0.0) - 0.5,
    )


@contextlib.contextmanager
def full_disk(size_kib: int, path: Path) -> Iterator[Path]:
    """A real file system that runs out of space."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_described_folder_holds_config_and_manifest(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "runs")
    folder.describe({"seed": 1, "lr": 1e-6}, hashes={"model": "sha256:00"}, verifiers={"exact": "1"})
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == {"seed": 1, "lr": 1e-6}
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert (manifest["hashes"], manifest["verifiers"]) == ({"model": "sha256:00"}, {"exact": "1"})
    assert folder.metrics() == []
    assert folder.checkpoints.is_dir()


def test_a_resumed_run_keeps_its_first_manifest_and_config(tmp_path: Path) -> None:
    new_folder(tmp_path).describe({"steps": 1}, hashes={"model": "a"}, verifiers={})
    for steps in (1, 2, 3):
        resumed = RunFolder.resume(tmp_path, "demo", SECRET)
        resumed.describe({"steps": steps}, hashes={"model": "b"}, verifiers={})
    manifest = json.loads((resumed.path / "manifest.json").read_text())
    assert manifest["hashes"] == {"model": "a"}
    assert [later["hashes"] for later in manifest["resumed"]] == [{"model": "b"}] * 3
    texts = [(resumed.path / name).read_text() for name in ("config-1.yaml", "config-2.yaml", "config.yaml")]
    assert texts == ["steps: 1\n", "steps: 2\n", "steps: 3\n"]


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    new_folder(tmp_path).log_metrics("rl", 1, {"loss": 0.5})
    with pytest.raises(RlvrError, match=r"exists already: continue that run with --resume, or choose another run_name"):
        new_folder(tmp_path)
    assert len(read_metrics(tmp_path / "demo" / "metrics.jsonl")) == 1


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\nb"])
def test_a_run_name_cannot_leave_the_output_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RlvrError, match="not a plain folder name"):
        new_folder(tmp_path, name)


def test_opening_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"demo: it is not a run \(there are no runs in that folder\)"):
        RunFolder.resume(tmp_path, "demo")
    new_folder(tmp_path)
    with pytest.raises(RlvrError, match=r"dmeo: it is not a run \(the runs there are demo\)"):
        RunFolder.resume(tmp_path, "dmeo")


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.describe({"args": {"api_key": "x", "note": "s3cr3t-value"}}, hashes={"judge": "s3cr3t-value"}, verifiers={})
    folder.log_metrics("rl", 1, {"loss": 1.0}, diagnosis="judge said: bad key s3cr3t-value")
    group = Group(
        task=rollout("t", "", 1.0).task, rollouts=(rollout("t", "s3cr3t-value", 0.0, explanation="key s3cr3t-value"),)
    )
    file = folder.write_rollouts("rl", 1, [], [group])
    folder.write_summary({"note": "s3cr3t-value"})
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert b"s3cr3t-value" not in path.read_bytes(), path
    assert pq.read_table(file)["completion"].to_pylist() == [REDACTED]


def test_metrics_are_one_line_a_record_and_keep_nan(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.log_metrics("sft", 1, {"loss": float("nan"), "grad_norm": float("inf"), "learning_rate": 1e-4})
    folder.log_metrics("rl", 1, {"reward/mean": 1}, diagnosis="all right")
    first, second = folder.metrics()
    assert math.isnan(first["loss"])
    assert first["grad_norm"] == math.inf
    assert (second["stage"], second["step"], second["reward/mean"], second["diagnosis"]) == ("rl", 1, 1.0, "all right")
    for line in (folder.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("torn", [b'{"stage": "rl", "st', b'{"stage": "rl", "step": 3}', b"\xff\xfe", b"x" * 200_000])
def test_a_torn_last_line_is_dropped_and_the_next_record_is_whole(tmp_path: Path, torn: bytes) -> None:
    folder = new_folder(tmp_path)
    for step in (1, 2):
        folder.log_metrics("rl", step, {"loss": 0.5})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    reopened = RunFolder.resume(tmp_path, folder.path.name, SECRET)
    assert [r["step"] for r in reopened.metrics()] == [1, 2]
    reopened.log_metrics("rl", 3, {"loss": 0.25})
    assert [r["step"] for r in reopened.metrics()] == [1, 2, 3]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    (folder.path / "metrics.jsonl").write_text('{"stage": "rl", "step": 1}\noops\n{"stage": "rl", "step": 2}\n')
    with pytest.raises(RlvrError, match=r"metrics\.jsonl, line 2: not a metrics record"):
        folder.metrics()


def test_rewinding_to_a_checkpoint_leaves_no_duplicate_and_no_later_step(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    group = Group(task=rollout("t", "", 1.0).task, rollouts=(rollout("t", "a", 1.0),), advantages=(0.0,))
    folder.write_evaluation("base", 0, "heldout", group.rollouts)
    for stage, steps in (("sft", 4), ("rl", 5)):
        for step in range(1, steps + 1):
            folder.log_metrics(stage, step, {"loss": float("nan")})
            if stage == "rl":
                folder.write_rollouts(stage, step, [group], [])
    folder.write_evaluation("rl", 4, "heldout", group.rollouts)

    rewound = folder.rewind(["sft", "rl"], "rl", 3)

    assert (rewound.dropped_records, rewound.dropped_files, rewound.missing_steps) == (2, 3, ())
    for step in (4, 5):
        folder.log_metrics("rl", step, {"loss": 1.0})
    assert [(r["stage"], r["step"]) for r in folder.metrics()] == [("sft", s) for s in (1, 2, 3, 4)] + [
        ("rl", s) for s in (1, 2, 3, 4, 5)
    ]
    assert math.isnan(folder.metrics()[0]["loss"])
    assert sorted(p.name for p in (folder.path / "rollouts").iterdir()) == [f"rl-00000{s}.parquet" for s in (1, 2, 3)]
    assert [p.name for p in (folder.path / "evaluations").iterdir()] == ["base-000000-heldout.parquet"]


def test_rewinding_to_an_earlier_stage_drops_the_later_one(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    for stage, step in (("sft", 1), ("sft", 2), ("rl", 1)):
        folder.log_metrics(stage, step, {})
    assert folder.rewind(["sft", "rl"], "sft", 2).dropped_records == 1
    assert folder.rewind(["sft", "rl"], "sft", 0).dropped_records == 2
    assert folder.metrics() == []


def test_rewinding_reports_steps_that_were_never_recorded(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    for step in (1, 2, 4):
        folder.log_metrics("rl", step, {})
    assert folder.rewind(["rl"], "rl", 5).missing_steps == (3, 5)


def test_rollouts_keep_tokens_scores_and_what_was_not_trained_on(tmp_path: Path) -> None:
    right, wrong, failed = rollout("t", "a", 1.0, parsed="2"), rollout("t", "b", 0.0), rollout("t", "c", None)
    trained = Group(task=right.task, rollouts=(right, wrong), advantages=(1.0, -1.0))
    table = pq.read_table(
        new_folder(tmp_path).write_rollouts("rl", 7, [trained], [Group(task=right.task, rollouts=(right, wrong, failed))])
    )
    rows = table.to_pylist()
    assert [(r["completion"], r["advantage"], r["reward"], r["score"], r["passed"]) for r in rows] == [
        ("a", 1.0, 0.5, 1.0, True),
        ("b", -1.0, -0.5, 0.0, False),
        ("c", None, None, None, False),
    ]
    assert rows[0]["token_ids"] == [3, 4]
    assert rows[0]["sampled_logprobs"] == [-0.5, -0.25]
    assert json.loads(rows[0]["prompt"]) == [{"role": "user", "content": "1 + 1?"}]
    assert {(r["stage"], r["step"], r["data_source"]) for r in rows} == {("rl", 7, "sums")}
    assert table.schema.field("step").type == "int32"


def test_text_that_is_not_unicode_is_stored_all_the_same(tmp_path: Path) -> None:
    strange = rollout("t", "lone \ud800 and \x00", 0.0, parsed="\udfff")
    file = new_folder(tmp_path).write_evaluation("rl", 1, "heldout", [strange, strange])
    rows = pq.read_table(file).to_pylist()
    assert (rows[0]["completion"], rows[0]["parsed"]) == ("lone \\ud800 and \x00", "\\udfff")
    assert [r["sample"] for r in rows] == [0, 1]


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "summary.json", "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RlvrError, match=r"disk full: summary\.json was not written .* the last checkpoint is intact"):
        write_atomically(tmp_path / "summary.json", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("summary.json", "old")]


def test_other_write_errors_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RlvrError, match=r"cannot write x to .*: Not a directory"):
        write_atomically(tmp_path / "file" / "x", "text")


def test_a_full_disk_keeps_every_whole_record(tmp_path: Path) -> None:
    with full_disk(64, tmp_path / "disk") as disk:
        folder = new_folder(disk)

        def fill() -> None:
            for step in range(1, 10_000):
                folder.log_metrics("rl", step, {"loss": 0.123456789, "reward/mean": 0.987654321})

        with pytest.raises(RlvrError, match=r"disk full: metrics\.jsonl was not written"):
            fill()
        written = (folder.path / "metrics.jsonl").read_bytes()
        assert written.endswith(b"}\n")
        assert [r["step"] for r in folder.metrics()] == list(range(1, len(folder.metrics()) + 1))
        with pytest.raises(RlvrError, match=r"disk full: summary\.json"):
            folder.write_summary({"text": "x" * 100_000})
        assert not [p for p in folder.path.iterdir() if p.name.endswith(".writing")]


def test_a_folder_without_a_config_is_not_the_newest_run(tmp_path: Path) -> None:
    """Left by a start that was cut off before it had described itself."""
    for name in ("demo-20261121-100000", "demo-20261121-173600", "other-20261121-180000"):
        (tmp_path / name).mkdir()
    (tmp_path / "demo-20261121-100000" / "config.yaml").write_text("{}")
    assert newest_run(tmp_path, "demo") == "demo-20261121-100000"
    with pytest.raises(RlvrError, match="no run of other in "):
        newest_run(tmp_path, "other")
