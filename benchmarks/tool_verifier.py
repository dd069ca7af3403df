"""The tool_call verifier beside the Berkeley leaderboard's own checker: the same turns, one machine, one run.

    pip install --no-deps --target FOLDER bfcl-eval
    python benchmarks/tool_verifier.py --bfcl FOLDER --out docs/results/tool_verifier.json

Turns are in the Hermes format and of two kinds. Derived: for every single-turn task of the leaderboard, its gold written out, and
variations of it whose label follows from how they are made (a string without its punctuation, true for a number, a repeated key,
a second try, a call in the reasoning, ...). Labelled: the Hermes turns of `verifiers/cases/tool_call`, those with arguments of our
verifier left out. The leaderboard's checker gets the decoding of its own Hermes handler (every <tool_call> block as JSON) and, where
no call is wanted, its rule that whatever cannot be decoded is right. Each system runs in a process of its own.

    rows/s, p99, max   CPU time of the process: reading the turn, checking it, and (ours) looking up gold and schemas
    false accepts      wrong turns that were rewarded
    false rejects      right turns that were not
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
from rlvr_tasks.sources.bfcl import bfcl
from rlvr_verifiers.registry import resolve
from rlvr_verifiers.tool_call import gold_completion
from rlvr_verifiers.types import Completion, Task

ROOT = Path(__file__).parents[1]
CASES = ROOT / "verifiers" / "cases" / "tool_call"
Row = tuple[str, Task, str, bool]
"""Kind, task, turn, and whether it is right."""
Calls = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bfcl", type=Path, required=True, help="folder that holds the package bfcl_eval")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(SYSTEMS[arguments.child](arguments.bfcl), rows(arguments.bfcl))))
        return
    results = {
        "commit": folder_commit(Path(__file__).parent),
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.bfcl), "FOLDER"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "systems": {name: run(name, arguments.bfcl) for name in SYSTEMS},
    }
    show(results)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def run(system: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", system, "--bfcl", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


# -- the turns ------------------------------------------------------------------------------------------------------------


def rows(folder: Path) -> list[Row]:
    return [*derived(folder), *labelled()]


def labelled() -> Iterator[Row]:
    tools = json.loads((CASES / "tools.json").read_text(encoding="utf-8"))
    for name in ("cases", "held_back"):
        for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            native = isinstance(case["gold"], dict) or any(is_marked(call) for call in case["gold"])
            if case["format"] != "hermes" or case.get("args") or native:
                continue
            offered = tuple(tools[tool] for tool in case["tools"])
            task = Task(
                id=name,
                prompt=(),
                verifier="tool_call",
                answer=json.dumps(case["gold"]),
                tools=offered,
                verifier_args={"format": "hermes"},
            )
            yield f"labelled: {case['kind']}", task, case["text"], case["passes"]


def is_marked(call: dict[str, Any]) -> bool:
    return '"$' in json.dumps(call)


def derived(folder: Path) -> Iterator[Row]:
    source = random.Random(0)
    for task in bfcl(path=str(folder / "bfcl_eval" / "data"), format="hermes"):
        message = gold_completion(task).messages[0]
        calls = [call["function"] for call in message["tool_calls"]]
        if not calls:
            yield "no call wanted", task, message["content"], True
            yield "no call wanted: broken call", task, '<tool_call>\n{"name": "f", "arguments": {\n</tool_call>', False
            yield "no call wanted: a call", task, turn([{"name": name_of(task), "arguments": {}}]), False
            continue
        yield "gold", task, turn(calls), True
        yield "gold behind reasoning", task, f"<think>Let me call it.</think>\n{turn(calls)}", True
        yield "gold in the reasoning only", task, f"<think>{turn(calls)}</think>\nDone.", False
        yield "reasoning never ends", task, f"<think>{turn(calls)}", False
        yield "called twice", task, turn([*calls, calls[0]]), False
        yield "cut off", task, turn(calls)[:-15], False
        yield "unknown argument", task, turn(changed(calls, "zz_extra", 1)), False
        if len(calls) > 1:
            yield "another order", task, turn(source.sample(calls, len(calls))), True
            yield "a call is missing", task, turn(calls[1:]), False
        yield from ((kind, task, text, False) for kind, text in near_misses(task, calls))


def near_misses(task: Task, calls: Calls) -> Iterator[tuple[str, str]]:
    """Turns that are wrong by construction: the changed value is none of the accepted ones."""
    accepted = json.loads(task.answer)[0][calls[0]["name"]]
    seen: set[str] = set()
    for key, value in calls[0]["arguments"].items():
        for kind, other in variants(value):
            if kind not in seen and all(type(other) is not type(choice) or other != choice for choice in accepted[key]):
                seen.add(kind)
                yield kind, turn(changed(calls, key, other))
        if "repeated key" not in seen:
            seen.add("repeated key")
            text = json.dumps(calls[0]["arguments"])
            doubled = "{" + json.dumps(key) + ': "something else", ' + text[1:]
            first = f'<tool_call>\n{{"name": {json.dumps(calls[0]["name"])}, "arguments": {doubled}}}\n</tool_call>'
            yield "repeated key", "\n".join([first, *(turn([call]) for call in calls[1:])])


def variants(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool):
        yield "other truth value", not value
        yield "number for true", int(value)
        return
    if isinstance(value, int | float):
        yield "another number", value + 1
        yield "number as text", str(value)
        if value in (0, 1):
            yield "true for a number", bool(value)
    if isinstance(value, str):
        bare = re.sub(r"[ ,./\-_*^]", "", value)
        if bare != value and bare:
            yield "string without its punctuation", bare
        if value.swapcase() != value:
            yield "string in another case", value.swapcase()
        yield "another string", value + "x"


def changed(calls: Calls, key: str, value: Any) -> Calls:
    result = copy.deepcopy(calls)
    result[0]["arguments"][key] = value
    return result


def turn(calls: Calls) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls)


def name_of(task: Task) -> str:
    return task.tools[0]["function"]["name"] if task.tools else "search"


# -- the systems ----------------------------------------------------------------------------------------------------------

Judge = Callable[[Task, str], bool]


def ours(folder: Path) -> Judge:
    verifier = resolve("tool_call")
    return lambda task, text: verifier.function(task, Completion(text=text)).passed  # type: ignore[union-attr]


def berkeley(folder: Path) -> Judge:
    """`ast_checker` itself; only the list of models, which imports every vendor's client, is replaced."""
    sys.path.insert(0, str(folder))
    stub: Any = types.ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = defaultdict(lambda: types.SimpleNamespace(underscore_to_dot=False))
    sys.modules[stub.__name__] = stub
    checker: Any = __import__("bfcl_eval.eval_checker.ast_eval.ast_checker", fromlist=["ast_checker"]).ast_checker
    language: Any = __import__("bfcl_eval.constants.enums", fromlist=["Language"]).Language.PYTHON
    functions: dict[str, Any] = {}
    for file in (folder / "bfcl_eval" / "data").glob("BFCL_v4_*.json"):
        if "format_sensitivity" not in file.name:
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                functions[row["id"]] = row.get("function")

    def judge(task: Task, text: str) -> bool:
        gold = json.loads(task.answer)
        try:
            blocks = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", text, re.DOTALL)
            decoded = [{call["name"]: call["arguments"]} for call in map(json.loads, blocks)]
        except Exception:
            return not gold
        if not gold or not decoded:
            return not gold and not decoded
        known = functions.get(task.id) or [python_types(tool["function"]) for tool in task.tools]
        if "name" in gold[0]:
            gold = [{call["name"]: {key: [value] for key, value in call["arguments"].items()}} for call in gold]
        category = "parallel" if len(gold) > 1 else "multiple" if len(known) > 1 else "simple"
        try:
            return bool(checker(known, decoded, gold, language, category, "any")["valid"])
        except Exception:
            return False

    return judge


def python_types(function: Any) -> Any:
    """A tool of ours as the leaderboard describes tools."""
    text = json.dumps({"required": [], **function, "parameters": {"required": [], **function["parameters"]}})
    result = json.loads(text.replace('"type": "object"', '"type": "dict"').replace('"type": "number"', '"type": "float"'))
    for part in result["parameters"]["properties"].values():
        if isinstance(part.get("type"), list):
            part["type"] = part["type"][0]
        if part.get("type") == "array":
            part.setdefault("items", {"type": "string"})
    return result


SYSTEMS: dict[str, Callable[[Path], Judge]] = {"rlvr": ours, "bfcl": berkeley}


def measured(judge: Judge, asked: list[Row]) -> dict[str, Any]:
    for _, task, text, _ in asked:  # golds and schemas are read once a task, as in training
        judge(task, text)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    times: list[float] = []
    begin = time.process_time()
    for kind, task, text, right in asked:
        start = time.thread_time()
        passed = judge(task, text)
        times.append(time.thread_time() - start)
        kinds[kind]["right" if passed == right else "false accept" if passed else "false reject"] += 1
    seconds = time.process_time() - begin
    total = sum(kinds.values(), Counter[str]())
    times.sort()
    return {
        "rows": len(asked),
        "wrong_rows": sum(not right for *_, right in asked),
        "accuracy": total["right"] / len(asked),
        "false_accepts": total["false accept"],
        "false_rejects": total["false reject"],
        "rows_per_s": len(asked) / seconds,
        "p50_ms": 1000 * times[len(times) // 2],
        "p99_ms": 1000 * times[int(0.99 * len(times))],
        "max_ms": 1000 * times[-1],
        "kinds": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
    }


def show(results: dict[str, Any]) -> None:
    print(f"{'':34}" + "".join(f"{name:>14}" for name in results["systems"]))
    for key in (
        "rows",
        "wrong_rows",
        "accuracy",
        "false_accepts",
        "false_rejects",
        "rows_per_s",
        "p50_ms",
        "p99_ms",
        "max_ms",
    ):
        print(f"{key:34}" + "".join(f"{system[key]:14.5g}" for system in results["systems"].values()))
    print("\nfalse accepts + false rejects of all, by kind")
    for kind in next(iter(results["systems"].values()))["kinds"]:
        counts = [system["kinds"][kind] for system in results["systems"].values()]
        cells = (f"{each.get('false accept', 0)} + {each.get('false reject', 0)} of {sum(each.values())}" for each in counts)
        print(f"{kind:34}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
