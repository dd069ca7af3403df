r"""Pythonic (Llama 4, OLMo 3, BFCL prompts): the whole turn is `[name(key=literal, ...), ...]`, in `<|python_start|>` marks or not.

A closed grammar of literals, read by recursive descent: nothing is compiled or evaluated. Strings (also raw, triple-quoted and side
by side), numbers, True, False, None and JSON's true, false, null, lists, tuples (as lists) and dictionaries with text keys. Refused:
positional arguments, operators, names, f-strings, bytes, comprehensions, repeated keys.
"""

from __future__ import annotations

import math
import re
from typing import Any

from rlvr_verifiers.strict_json import MAX_DEPTH, MAX_DIGITS, MAX_VALUES, JsonError, JsonTooLargeError
from rlvr_verifiers.tool_call.calls import MAX_NAME, Call, CallError, ParsedCalls, made
from rlvr_verifiers.tool_call.turn import Tools, Turn

START, END = "<|python_start|>", "<|python_end|>"
_LISTED = re.compile(r"\[\s*(?:[A-Za-z_][\w.]*\s*\(|\])")
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>[rRuU]?(?:'''(?:[^'\\]|\\.|'(?!''))*'''|\"\"\"(?:[^"\\]|\\.|"(?!""))*\"\"\"
                        |'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
  | (?P<number>[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d+)?(?![\w.]))
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?!['"])
  | (?P<mark>[\[\](){},:=])
)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:\r?\n|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_STRAY_UNDERSCORE = re.compile(r"(?<!\d)_|_(?!\d)")
_INTEGER = re.compile(r"[-+]?(?:0+|[1-9]\d*)")


def read(text: str, tools: Tools) -> ParsedCalls:
    turn = Turn("pythonic")
    body = text.strip()
    marked = body.startswith(START)
    body = body.removeprefix(START).removesuffix(END).strip()
    if not marked and not _LISTED.match(body):
        turn.words(text)
        return turn.finish()
    try:
        _Reader(body).calls(turn)
        if body.startswith("[") and not body[1:-1].strip():
            turn.words(body)  # says in so many words that nothing is to be called
    except JsonError as error:
        turn.fail(error)
    return turn.finish()


def keyword_arguments(text: str, name: str, position: int) -> Call:
    """The call of `name` whose `(key=literal, ...)` is the whole rest of the text. Raises JsonError."""
    reader = _Reader(text, position)
    call = made(name, reader.arguments())
    reader.finish()
    return call


class _Reader:
    """One token ahead of a text. Every method raises JsonError on what the grammar does not have."""

    def __init__(self, text: str, position: int = 0) -> None:
        self._text = text
        self._end = position
        self._values = 0
        self._advance()

    def calls(self, turn: Turn) -> None:
        self._expect("[")
        while not self._take("]"):
            name = self._name()
            turn.call(made(name, self.arguments()))
            if not self._take(","):
                self._expect("]")
                break
        self.finish()

    def arguments(self) -> dict[str, Any]:
        self._expect("(")
        found: dict[str, Any] = {}
        while not self._take(")"):
            if self._kind != "name":
                raise CallError(f"arguments are given as key=value; found {self._shown()}")
            key = self._name()
            self._expect("=")
            if key in found:
                raise CallError(f"the argument {key[:40]!r} appears twice")
            found[key] = self._value(1)
            if not self._take(","):
                self._expect(")")
                break
        return found

    def finish(self) -> None:
        if self._kind != "end":
            raise CallError(f"text behind the calls: {self._shown()}")

    def _value(self, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise JsonTooLargeError(f"an argument of more than {MAX_VALUES} values, or nested deeper than {MAX_DEPTH}")
        if self._kind == "string":
            parts = [_string(self._token())]
            while self._kind == "string":
                parts.append(_string(self._token()))
            return "".join(parts)
        if self._kind == "number":
            return _number(self._token())
        if self._kind == "name" and self._string in _WORDS:
            return _WORDS[self._token()]
        if self._take("["):
            return self._items("]", depth)[0]
        if self._take("("):
            items, is_tuple = self._items(")", depth)
            return items if is_tuple else items[0]
        if self._take("{"):
            return self._members(depth)
        raise CallError(f"a value has to be a literal; found {self._shown()}")

    def _items(self, closing: str, depth: int) -> tuple[list[Any], bool]:
        """The items, and whether they are a tuple (none, or a comma) where they stand in parentheses."""
        items: list[Any] = []
        comma = False
        while not self._take(closing):
            items.append(self._value(depth + 1))
            comma = self._take(",")
            if not comma:
                self._expect(closing)
                break
        return items, len(items) != 1 or comma

    def _members(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not self._take("}"):
            if self._kind != "string":
                raise CallError(f"keys of a dictionary have to be strings; found {self._shown()}")
            key = _string(self._token())
            self._expect(":")
            if key in members:
                raise CallError(f"the key {key[:40]!r} appears twice in one dictionary")
            members[key] = self._value(depth + 1)
            if not self._take(","):
                self._expect("}")
                break
        return members

    def _name(self) -> str:
        if self._kind != "name" or self._string in _WORDS or len(self._string) > MAX_NAME:
            raise CallError(f"a name is expected; found {self._shown()}")
        return self._token()

    def _token(self) -> str:
        token = self._string
        self._advance()
        return token

    def _take(self, mark: str) -> bool:
        if self._kind != "mark" or self._string != mark:
            return False
        self._advance()
        return True

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise CallError(f"{mark!r} is expected; found {self._shown()}")

    def _shown(self) -> str:
        return repr(self._string[:40]) if self._kind != "end" else "the end"

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._end)
        if match is not None and match.lastgroup is not None and match.end() > self._end:
            self._kind, self._string, self._end = match.lastgroup, match[match.lastgroup], match.end()
            return
        rest = self._text[self._end :].lstrip()
        self._kind, self._string = ("other", rest[:40]) if rest else ("end", "")


def _string(token: str) -> str:
    raw = token[0] in "rR"
    token = token.lstrip("rRuU")
    width = 3 if token[:3] in ("'''", '"""') and len(token) >= 6 else 1
    body = token[width:-width]
    return body if raw or "\\" not in body else _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[str]) -> str:
    code, octal, other = match[1] or match[2] or match[3], match[4], match[5]
    if code:
        point = int(code, 16)
        if point > 0x10FFFF:
            raise CallError(f"{match.group()} is no character")
        return chr(point)
    if octal:
        return chr(int(octal, 8))
    if other is None:
        return ""  # a line break behind a backslash
    if other in "NxuU":
        raise CallError(f"{match.group()!r} is no complete escape")
    return _SIMPLE.get(other, match.group())


def _number(token: str) -> int | float:
    if len(token) > MAX_DIGITS:
        raise JsonTooLargeError(f"a number of more than {MAX_DIGITS} characters")
    if _STRAY_UNDERSCORE.search(token):
        raise CallError(f"{token!r} is no number")
    digits = token.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return int(digits)
    if not any(mark in digits for mark in ".eE"):
        raise CallError(f"{token!r} has a leading zero")
    value = float(digits)
    if math.isinf(value):
        raise CallError(f"the number {token} is beyond what a float can hold")
    return value
