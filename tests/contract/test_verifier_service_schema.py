"""The scoring service keeps what its OpenAPI schema says, whatever it is sent: schemathesis on a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.verifier_server import serving

TOKEN = "a-token"
# A request may fit the schema and still give arguments that its verifier does not take: that is a 422, and no fault of the schema.
NOT_ASKED = "positive_data_acceptance"


def test_every_answer_is_one_that_the_schema_declares(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="pip install 'rlvr[dev]'")
    with serving(["exact", "math", "multi", "json_schema"], token=TOKEN) as address:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--no-color"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--generation-deterministic", "--seed", "1"),
            *("--max-examples", "8", "--no-shrink", "--exclude-checks", NOT_ASKED),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
