"""Coverage-guided fuzzing of the tool call parsers: no text raises, costs more than 0.1 s, or gives a call that is no plain JSON.

    pip install atheris && python benchmarks/fuzz_tool_calls.py CORPUS_FOLDER -max_total_time=300

The labelled turns are the first corpus; atheris' own arguments follow the folder. It ends with the first text that breaks a rule, which
it writes beside you. Without atheris, the same rules are tried by hypothesis in tests/unit/test_tool_calls.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rlvr_verifiers"]):
    from rlvr_verifiers.tool_call import FORMATS, parse_calls

CASES = Path(__file__).parents[1] / "verifiers" / "cases" / "tool_call" / "cases.jsonl"
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {"n": {"type": "integer"}, "s": {"type": "string"}, "l": {"type": "array"}},
            },
        },
    },
)
MAX_SECONDS = 0.1


def one(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for name in FORMATS:
        begin = time.thread_time()
        parsed = parse_calls(text, name, TOOLS)
        took = time.thread_time() - begin
        if took > MAX_SECONDS:
            raise AssertionError(f"{name} took {took:.3f} s")
        for call in parsed.calls:
            if not isinstance(call.name, str):
                raise AssertionError(f"{name} reads the name {call.name!r}")
            json.dumps(dict(call.arguments), allow_nan=False)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(CASES.read_text(encoding="utf-8").splitlines()):
        (corpus / f"case{number}").write_bytes(json.loads(line)["text"].encode("utf-8", "surrogatepass")[:4096])
    atheris.Setup([sys.argv[0], str(corpus), "-max_len=4096", *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
