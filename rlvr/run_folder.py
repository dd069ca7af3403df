"""A run's folder: everything that is written about a run, so that any number in it can be traced to what made it.

    config.yaml      the resolved config; after a resume with another one, the earlier ones as config-1.yaml, ...
    manifest.json    versions, commit, machine, command line, hashes of what went in; one more record for every resume
    metrics.jsonl    one line a record: stage, step, time, diagnosis, and the metrics of docs/metrics.md
    rollouts/        <stage>-<step>.parquet, one row a completion (rlvr/rollout_table.py)
    evaluations/     <stage>-<step>-<name>.parquet, the same rows
    checkpoints/     rlvr/checkpoint.py
    summary.json     what came out

Nothing here holds a secret (rlvr/redaction.py). Whole files are written beside their place and renamed; metrics.jsonl is
appended and flushed line by line, and a line torn by a crash is dropped when the run is opened again. Resuming rewinds the folder to the
checkpoint, so no step is recorded twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rlvr.errors import RlvrError
from rlvr.manifest import build_manifest
from rlvr.redaction import Redactor
from rlvr.rollout_table import evaluation_table, training_table
from rlvr.types import Group, Rollout

CONFIG, MANIFEST, METRICS, SUMMARY = "config.yaml", "manifest.json", "metrics.jsonl", "summary.json"
RUN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,199}")
PART_NAME = re.compile(r"(?P<stage>[a-z_]+)-(?P<step>\d{6})(?:-.*)?\.parquet")


@dataclasses.dataclass(frozen=True, slots=True)
class Rewound:
    """What resuming took away, and what was never there."""

    dropped_records: int
    dropped_files: int
    missing_steps: tuple[int, ...]
    """Steps before the checkpoint whose record the crash swallowed."""


class RunFolder:
    """Writes one run's folder; make it with `create` or `resume`."""

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self.redactor = redactor or Redactor()

    @classmethod
    def create(cls, output_dir: Path, name: str, redactor: Redactor | None = None) -> RunFolder:
        """A new folder `output_dir/name`. Raises RlvrError where one is there already: a run is never overwritten."""
        if RUN_NAME.fullmatch(name) is None:
            raise RlvrError(f"run_name={name!r} is not a plain folder name: use letters, digits and . _ + = @ -, no slash")
        path = output_dir / name
        with writing("the run folder", path):
            output_dir.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                raise RlvrError(
                    f"{path} exists already: continue that run with --resume, or choose another run_name=..."
                ) from None
            for part in ("rollouts", "evaluations", "checkpoints"):
                (path / part).mkdir()
            (path / METRICS).touch()
        return cls(path, redactor)

    @classmethod
    def resume(cls, output_dir: Path, name: str, redactor: Redactor | None = None) -> RunFolder:
        """The run that `create` made. Raises RlvrError where there is none."""
        path = output_dir / name
        if not (path / METRICS).is_file():
            runs = sorted(file.parent.name for file in output_dir.glob(f"*/{METRICS}"))
            there = f"the runs there are {', '.join(runs[-5:])}" if runs else "there are no runs in that folder"
            raise RlvrError(
                f"cannot resume {path}: it is not a run ({there}); give its run_name=..., or start anew without --resume"
            )
        return cls(path, redactor)

    def describe(self, config: Mapping[str, Any], *, hashes: Mapping[str, str], verifiers: Mapping[str, str]) -> None:
        """Writes the config and the manifest (see `rlvr.manifest.build_manifest`); a resumed run adds to both and loses neither."""
        manifest = build_manifest(hashes=hashes, verifiers=verifiers, redactor=self.redactor)
        text = yaml.safe_dump(self.redactor.value(config), sort_keys=False, allow_unicode=True)
        if (self.path / MANIFEST).is_file():
            first = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            manifest = {**first, "resumed": [*first.get("resumed", []), manifest]}
            earlier = (self.path / CONFIG).read_text(encoding="utf-8")
            if earlier != text:
                write_atomically(self.path / f"config-{len(list(self.path.glob('config-*.yaml'))) + 1}.yaml", earlier)
        write_atomically(self.path / CONFIG, text)
        write_atomically(self.path / MANIFEST, _pretty(self.redactor.value(manifest)))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def log_metrics(self, stage: str, step: int, metrics: Mapping[str, float], diagnosis: str | None = None) -> None:
        """Appends one record and flushes it to the disk. NaN and infinities are written as strings, which JSON can hold."""
        record: dict[str, Any] = {"stage": stage, "step": step, "time": round(time.time(), 3)}
        if diagnosis is not None:
            record["diagnosis"] = self.redactor.text(diagnosis)
        record |= {name: float(value) for name, value in metrics.items()}
        _append_line(self.path / METRICS, _line(record))

    def metrics(self) -> list[dict[str, Any]]:
        """All whole records, oldest first."""
        return read_metrics(self.path / METRICS)

    def write_rollouts(self, stage: str, step: int, trained: Sequence[Group], sampled: Sequence[Group]) -> Path:
        """The step's rollouts: groups that entered the update, and what was sampled besides."""
        table = training_table(stage, step, trained, sampled, self.redactor)
        return self._write_table(self.path / "rollouts" / f"{stage}-{step:06d}.parquet", table)

    def write_evaluation(self, stage: str, step: int, name: str, rollouts: Iterable[Rollout]) -> Path:
        """Every sample of the evaluation `name` (base, heldout, retention, ...) after `step` steps of `stage`."""
        if RUN_NAME.fullmatch(name) is None:
            raise RlvrError(f"an evaluation cannot be called {name!r}: use letters, digits and . _ + = @ -")
        table = evaluation_table(stage, step, rollouts, self.redactor)
        return self._write_table(self.path / "evaluations" / f"{stage}-{step:06d}-{name}.parquet", table)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replaces summary.json."""
        write_atomically(self.path / SUMMARY, _pretty(self.redactor.value(summary)))

    def rewind(self, stages: Sequence[str], stage: str, step: int) -> Rewound:
        """Forgets what was recorded after `step` steps of `stage` (with `stages` the run's order): the run repeats it.

        For a run without a checkpoint, rewind to the first stage and step 0. Names outside `stages` come before all of them.
        """

        def is_kept(of_stage: str, of_step: int) -> bool:
            position = stages.index(of_stage) if of_stage in stages else -1
            return (position, of_step) <= (stages.index(stage), step)

        records = self.metrics()
        kept = [record for record in records if is_kept(record["stage"], record["step"])]
        write_atomically(self.path / METRICS, "".join(_line(record) + "\n" for record in kept))
        later = [
            file
            for folder in ("rollouts", "evaluations")
            for file in (self.path / folder).glob("*.parquet")
            if (match := PART_NAME.fullmatch(file.name)) and not is_kept(match["stage"], int(match["step"]))
        ]
        for file in later:
            file.unlink()
        recorded = {record["step"] for record in kept if record["stage"] == stage}
        missing = tuple(s for s in range(1, step + 1) if s not in recorded)
        return Rewound(len(records) - len(kept), len(later), missing)

    def _write_table(self, path: Path, table: pa.Table) -> Path:
        with io.BytesIO() as buffer:
            pq.write_table(table, buffer, compression="zstd")
            write_atomically(path, buffer.getvalue())
        return path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes the whole file or leaves the old one: temporary file beside it, fsync, rename, fsync of the folder."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    with writing(path.name, path):
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Turns an OSError into one line that says what was not written and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RlvrError(
                f"disk full: {what} was not written to {path}; the last checkpoint is intact. Free some space there and continue "
                "with --resume"
            ) from error
        raise RlvrError(
            f"cannot write {what} to {path}: {error.strerror or error}; the last checkpoint is intact. Check the folder's "
            "permissions, or choose another output_dir"
        ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records of a metrics.jsonl; a last line torn by a crash is left out. Raises RlvrError on a damaged line before it."""
    try:
        *lines, _torn = path.read_bytes().split(b"\n")  # what follows the last newline was never finished
    except OSError as error:
        raise RlvrError(f"cannot read {path}: {error.strerror}; give the folder that `rlvr train` printed") from None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["stage"], str) or not isinstance(record["step"], int):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise RlvrError(f"{path}, line {number}: not a metrics record; repair or remove that line") from None
        records.append({name: _from_json_number(value) for name, value in record.items()})
    return records


def _append_line(path: Path, line: str) -> None:
    """Appends after the last whole line; a failure leaves no half line behind."""
    with writing(path.name, path), path.open("r+b", buffering=0) as file:
        end = _end_of_last_line(file)
        try:
            file.truncate(end)
            file.seek(end)
            rest = memoryview(line.encode() + b"\n")
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def _end_of_last_line(file: Any) -> int:
    """Offset behind the last newline."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _line(record: Mapping[str, Any]) -> str:
    finite = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(finite, allow_nan=False)


def _from_json_number(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
