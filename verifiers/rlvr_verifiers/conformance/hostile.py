"""Completions that a policy may write by accident or to please, and that no verifier may choke on."""

from __future__ import annotations

from collections.abc import Mapping

MEGABYTE = 1_000_000
DEEP = 20_000


def hostile_texts() -> Mapping[str, str]:
    """Name to text. The large ones are one megabyte."""
    return {
        "empty": "",
        "blank": " \n\t\u2003",
        "binary": "".join(chr(number % 256) for number in range(4_096)),
        "zero bytes": "\x00" * 1_000,
        "lone surrogates": "\ud800\udfff \\boxed{\udc80} \ud83d",
        "mixed languages": "答えは四十二です。 Ответ: сорок два. الجواب ٤٢ תשובה 🧮 ๔๒ \u202e24\u202c e\u0301\u200b\ufeff",
        "megabyte of letters": "a" * MEGABYTE,
        "megabyte of spaces": " " * MEGABYTE + "x",
        "megabyte of lines": "\n" * MEGABYTE,
        "megabyte of digits": "7" * MEGABYTE,
        "megabyte of numbers": "1 " * (MEGABYTE // 2),
        "megabyte of words": "answer: no " * (MEGABYTE // 11),
        "megabyte of open boxes": "\\boxed{" * (MEGABYTE // 7),
        "megabyte of boxes": "\\boxed{1} " * (MEGABYTE // 10),
        "megabyte of tags": "<answer></answer>" * (MEGABYTE // 17),
        "megabyte of open tags": "<answer>" * (MEGABYTE // 8),
        "megabyte of thoughts": "<think></think>" * (MEGABYTE // 15),
        "megabyte of fences": "```\n" * (MEGABYTE // 4),
        "deep parentheses": "(" * DEEP + "1" + ")" * DEEP,
        "deep lists": "[" * DEEP + "]" * DEEP,
        "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
        "deep box": "\\boxed{" + "{" * DEEP + "}" * DEEP + "}",
        "deep fractions": "\\boxed{" + "\\frac{1}{" * 2_000 + "1" + "}" * 2_000 + "}",
        "tower of powers": "\\boxed{9^{9^{9^{9^{9}}}}} 9**9**9**9",
        "huge exponent": "1e999999999",
        "huge integer": "\\boxed{" + "9" * 100_000 + "}",
        "not a number": "nan inf -inf NaN Infinity",
        "format directives": "%s%n%x {0.__class__} {} ${HOME} `id`",
        "backslashes": "\\" * 10_000,
        "quotes": "\"'" * 5_000 + '"""' + "'''",
        "end of turn tokens": "<|im_end|><|endoftext|></s>" * 100,
        "never ending thought": "<think>" + "so " * 1_000,
    }
