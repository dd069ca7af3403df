"""A verifier from nothing to training, as a user does it: a new virtual environment, `new`, pip, `list`, `check`, `score`, `train`."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clean")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """Runs a program of a fresh virtual environment that sees this one's packages, as with a shared installation."""
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(folder / "venv")], check=True)
    packages = next((folder / "venv" / "lib").glob("python3*")) / "site-packages"
    # Not the folders alone: what is installed there for editing is found through their own .pth files.
    packages.joinpath("shared.pth").write_text(
        "".join(f"import site; site.addsitedir({p!r})\n" for p in site.getsitepackages())
    )
    environment = {**os.environ, "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def run(*arguments: str, code: int = 0) -> str:
        command = ["python", "-m", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def package(run: Run) -> str:
    run("rlvr.cli", "verifiers", "new", "capital")
    run("pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", "capital")
    return "capital"


def test_an_installed_verifier_is_listed_and_keeps_every_rule(run: Run, package: str) -> None:
    listed = {row["name"]: row for row in json.loads(run("rlvr.cli", "verifiers", "list", "--json"))}
    assert listed[package]["target"] == "capital:Verifier"
    assert not listed[package]["built_in"]
    report = json.loads(run("rlvr.cli", "verifiers", "check", package, "--json"))
    assert report["passed"]
    assert report["version"].startswith("capital 0.1.0 sha256:")
    run("pytest", "-q", "-p", "no:cacheprovider", "capital/tests")  # the test that came with it


def test_it_scores_and_trains(run: Run, package: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"t{n}",
            "prompt": "Which capital?",
            "verifier": package,
            "answer": "Paris",
            "verifier_args": {"ignore_case": True},
        }
        for n in range(6)
    ]
    scored = tmp_path / "scored.jsonl"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "completion": "Answer: PARIS"}) + "\n" for row in rows))
    run("rlvr.cli", "score", str(tmp_path / "rows.jsonl"), "-o", str(scored))
    assert [json.loads(line)["score"] for line in scored.read_text().splitlines()] == [1.0] * 6

    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [{"source": "jsonl", "args": {"path": str(tmp_path / "tasks.jsonl")}}]
    config = {
        "model": {"name": str(tiny_model_dir), "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8},
        "engine": {"kind": "hf", "max_model_len": 128},
        "verification": {"workers": 1},
        "rl": {
            "algorithm": "grpo",
            "tasks": tasks,
            "steps": 3,
            "prompts_per_step": 2,
            "group_size": 3,
            "max_completion_tokens": 5,
            "optimizer": {"learning_rate": 1e-2},
        },
        "eval": {"tasks": tasks, "max_completion_tokens": 5},
        "run_name": "trained",
        "output_dir": str(tmp_path / "runs"),
        "device": "cpu",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    run("rlvr.cli", "train", str(tmp_path / "recipe.yaml"))
    manifest = (tmp_path / "runs" / "trained" / "manifest.json").read_text()
    assert "capital 0.1.0 sha256:" in manifest  # the verifier's version is part of what made the run
    metrics = [json.loads(line) for line in (tmp_path / "runs" / "trained" / "metrics.jsonl").read_text().splitlines()]
    assert {1, 2, 3} <= {row["step"] for row in metrics}


def test_a_file_that_breaks_a_rule_is_refused_with_exit_code_1(run: Run, folder: Path) -> None:
    run("rlvr.cli", "verifiers", "new", "lenient", "--file")
    assert json.loads(run("rlvr.cli", "verifiers", "check", "lenient.py:score", "--json"))["passed"]
    file = folder / "lenient.py"
    file.write_text(file.read_text().replace("== task.answer", "!= ''"))
    told = json.loads(run("rlvr.cli", "verifiers", "check", "lenient.py:score", "--json", code=1))
    assert {finding["rule"] for finding in told["findings"] if finding["broken"]} == {"cases"}
