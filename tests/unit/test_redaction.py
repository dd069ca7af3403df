"""No secret is ever written."""

from __future__ import annotations

import pytest

from rlvr.redaction import REDACTED, SECRET_NAME, Redactor


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "WANDB_API_KEY",
        "api_key",
        "api-key",
        "AWS_SECRET",
        "DB_PASSWORD",
        "PGPASSWORD",
        "token",
        "x.args.api_key",
    ],
)
def test_secret_names(name: str) -> None:
    assert SECRET_NAME.match(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_completion_tokens",
        "head_chunk_tokens",
        "tokenizer",
        "key",
        "keyboard",
        "pad_token",
        "model.eos_token",
        "token_weights",
        "PATH",
    ],
)
def test_ordinary_names(name: str) -> None:
    assert not SECRET_NAME.match(name)


def test_values_of_secret_variables_vanish_from_any_text() -> None:
    redact = Redactor({"JUDGE_API_KEY": "abc.def+1234", "OTHER_TOKEN": "abc.def+1234-longer", "HOME": "/srv/abc"})
    assert (
        redact.text("401 for key abc.def+1234 and abc.def+1234-longer at /srv/abc")
        == f"401 for key {REDACTED} and {REDACTED} at /srv/abc"
    )


def test_short_values_do_not_blot_out_ordinary_text() -> None:
    assert Redactor({"TRACE_TOKEN": "1", "SOME_KEY": ""}).text("step 1 of 11") == "step 1 of 11"


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "a1B2" * 8, "sk-proj-" + "x9_Y" * 8, "ghp_" + "Z" * 36, "AKIA" + "A1" * 8, "xoxb-1234567890-abc"],
)
def test_well_known_shapes_are_redacted_without_an_environment(secret: str) -> None:
    assert Redactor({}).text(f"token {secret}, done") == f"token {REDACTED}, done"


def test_git_commits_and_file_hashes_are_kept() -> None:
    text = "3dccbd2f0e6f4c0c9d1b8f0a7e5d4c3b2a190807 sha256:" + "0f" * 32
    assert Redactor({}).text(text) == text


def test_nested_values_are_cleaned_by_name_and_by_content() -> None:
    config = {
        "rl": {"tasks": [{"args": {"api_key": "plain", "key": "question", "url": "https://me:pw@host/x"}}], "max_tokens": 5},
        "note": "uses s3cr3t-value",
    }
    assert Redactor({"MY_SECRET": "s3cr3t-value"}).value(config) == {
        "rl": {
            "tasks": [{"args": {"api_key": REDACTED, "key": "question", "url": f"https://me:{REDACTED}@host/x"}}],
            "max_tokens": 5,
        },
        "note": f"uses {REDACTED}",
    }


def test_command_line() -> None:
    arguments = [
        "rlvr",
        "train",
        "c.yaml",
        "--api-key",
        "A",
        "--token=B",
        "rl.tasks.0.args.api_key=C",
        "rl.steps=5",
        "--resume",
    ]
    assert Redactor({}).command_line(arguments) == [
        "rlvr", "train", "c.yaml", "--api-key", REDACTED, f"--token={REDACTED}", f"rl.tasks.0.args.api_key={REDACTED}", "rl.steps=5",
        "--resume",
    ]  # fmt: skip


def test_hostile_text_takes_linear_time() -> None:
    redact = Redactor({"A_TOKEN": "aaaaaaaaab"})
    for hostile in ("a" * 10**6, "://" + "x:" * 500_000, "sk-" * 300_000, "hf_" + "a" * 10**6):
        redact.text(hostile)
