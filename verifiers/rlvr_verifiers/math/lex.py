"""Cuts an answer into tokens. A few regular expressions, each linear in the text; every spelling of a sign becomes one."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from rlvr_verifiers.math.tree import UnreadableError

Kind = Literal["number", "repeating", "word", "text", "command", "mark", "end"]


class Token(NamedTuple):
    kind: Kind
    text: str
    start: int
    end: int


END = Token("end", "", -1, -1)
DEGREE = "degree"

# One spelling for each sign.
_SPELLINGS = {
    r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\leqq": "<=", r"\lt": "<", r"\ge": ">=", r"\geq": ">=",
    r"\geqslant": ">=", r"\geqq": ">=", r"\gt": ">", r"\ne": "!=", r"\neq": "!=", "==": "=", "**": "^", r"\cdot": "*",
    r"\times": "*", r"\ast": "*", r"\div": "/", r"\%": "%", r"\$": "$", r"\lbrace": r"\{", r"\rbrace": r"\}",
    r"\lbrack": "[", r"\rbrack": "]", r"\lparen": "(", r"\rparen": ")", r"\vert": "|", r"\lvert": "|", r"\rvert": "|",
    r"\mid": "|", r"\colon": ":", r"\degree": DEGREE, r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac",
    r"\dbinom": r"\binom", r"\tbinom": r"\binom", r"\varnothing": r"\emptyset", r"\backslash": r"\setminus",
    r"\lor": "or", r"\vee": "or", r"\land": "and", r"\wedge": "and", r"\fbox": r"\boxed", r"\langle": "(", r"\rangle": ")",
    r"\nicefrac": r"\frac", r"\sfrac": r"\frac", r"\bigcup": r"\cup", r"\bigcap": r"\cap", r"\ldots": "...",
    r"\dots": "...", r"\cdots": "...", r"\approxeq": r"\approx", r"\simeq": r"\approx",
    r"\varphi": r"\phi", r"\varepsilon": r"\epsilon", r"\infin": r"\infty",
    r"\Pr": "P", r"\prime": "'", r"\&": "&", r"\_": "_", r"\bmod": r"\pmod", r"\mod": r"\pmod", r"\euro": "€", r"\pounds": "£",
    "≅": r"\approx",
}  # fmt: skip

_TOKEN = re.compile(
    r"""
      (?P<space> (?: \s | ~ | \\[,;:!\ ] | \\(?:left|right)\.
                   | \\(?:q?quad|left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|boldsymbol|bm|rm|bf|it
                       |ensuremath|scriptstyle|mathstrut|strut|hspace\{[^{}]{0,20}\}|[hv]?phantom\{[^{}]{0,20}\}
                       |thinspace|nobreak|allowbreak)(?![a-zA-Z]) )+ )
    | (?P<degree> \^\s?(?:\\circ(?![a-zA-Z])|\{\s?\\circ\s?\}|\\degree(?![a-zA-Z])) )
    | (?P<prime> \^\s?(?:\\prime(?![a-zA-Z])|\{\s?(?:\\prime\s?)+\}) )
    | (?P<repeating> \d*\.\d*\s?\\(?:overline|bar|dot)\s?(?:\{\d{1,100}\}|\d) | \d*\.\d*\(\d{1,100}\)
                   | \d*\.\d{3,400}(?:\.\.\.|\\[cl]?dots(?![a-zA-Z])) )
    | (?P<number> \d+ (?: (?:,\\!|\{,\}|\\,|\\!) \s? \d{3} (?!\d) )* (?:\.\d+)? | \.\d+ )
    | \\(?:text|mbox|textrm|textnormal|textsf|texttt|textup|textbf|textit|mathrm|mathbf|mathit|mathsf|mathtt|mathcal|operatorname\*?
          |emph|underline|bold|mathord|mathop|hbox)
      \s? \{ (?P<text> (?:[^{}\\]|\\[^a-zA-Z{}]|\\cdot(?![a-zA-Z])|\^\{-?\d{1,2}\})* | [^{}]* ) \}
    | (?P<command> \\[a-zA-Z]+ | \\[{}$%&_\#|\\] )
    | (?P<word> [apAP]\.\s?[mM]\b\.? | [^\W\d_]+ )
    | (?P<mark> \*\* | <= | >= | != | == | \.\.\. | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
UNIT_LETTERS = frozenset("mgshlLJNWV")
"""Single letters that are a unit where they stand behind a number and a space."""


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        content = match[kind]
        if kind == "text":
            kind, content = _font(match[0], content)
            if not content.strip():
                continue
            if kind == "text" and len(content) <= 2 and content.isalpha() and text.startswith("_", match.end()):
                kind = "word"  # the H of H_2O
        elif kind == "degree":
            kind, content = "mark", DEGREE
        elif kind == "prime":
            found += [Token("mark", "'", match.start(), match.end())] * content.count("p")
            continue
        elif kind == "command" and content in _FONTS:  # around a formula
            continue
        elif kind in ("mark", "command") and content in _SPELLINGS:
            content = _SPELLINGS[content]
            kind = "word" if content in ("and", "or", "P") else "command" if content[0] == "\\" else "mark"
        joined = _JOINED.fullmatch(content) if kind == "text" else None
        if joined:  # `\text{ hours and }`
            found.append(Token("text", joined[1], match.start(), match.start()))
            kind, content = "word", joined[2]
        found.append(Token(kind, content, match.start(), match.end()))  # type: ignore[arg-type]
    _unit_letter(found)
    return found


def _font(source: str, content: str) -> tuple[str, str]:
    r"""`\mathrm{i}` is the letter and `\operatorname{lcm}` a word; `\text{...}` is text."""
    stripped = content.strip()
    if stripped in ("i", "e", "d") or source.startswith((r"\operatorname", r"\mathop")):
        return "word", stripped
    if stripped.isalpha() and stripped in _UPRIGHT:
        return "word", stripped
    return ("mark", "degree") if stripped in ("°", r"\degree") else ("text", content)


_JOINED = re.compile(r"\s*([a-zA-Z.]+)\s+(and|or)\s*")
_FONTS = frozenset(
    rf"\{font}" for font in ["mathrm", "mathbf", "mathit", "mathsf", "textbf", "textit", "underline", "emph", "bold"]
)
_WORDS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp cis sqrt or and"
_UPRIGHT = frozenset(_WORDS.split())


def _unit_letter(found: list[Token]) -> None:
    """`5 m` at the end of an answer is five metres, `5m` is five times m."""
    if len(found) >= 2 and found[-1].kind == "word" and found[-1].text in UNIT_LETTERS:
        before, last = found[-2], found[-1]
        raised = len(found) > 2 and found[-3].text in ("^", "_")
        if before.kind == "number" and before.end < last.start and not raised:
            found[-1] = last._replace(kind="text")


class Cursor:
    """A place in a list of tokens."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._position: int = 0

    def _peek(self, ahead: int = 0) -> Token:
        position = self._position + ahead
        return self._tokens[position] if position < len(self._tokens) else END

    def _at(self, *texts: str) -> bool:
        token = self._peek()
        return token.text in texts and token.kind != "text" and token is not END

    def _next(self) -> Token:
        token = self._peek()
        if token is END:
            raise UnreadableError("the answer ends too early")
        self._position += 1
        return token

    def _take(self, *texts: str) -> bool:
        taken = self._at(*texts)
        self._position += taken
        return taken

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected()

    def _split(self, length: int) -> None:
        """Cuts the next token in two, the first of this many characters."""
        token = self._peek()
        cut = token.start + length
        self._tokens[self._position : self._position + 1] = [
            Token(token.kind, token.text[:length], token.start, cut),
            Token(token.kind, token.text[length:], cut, token.end),
        ]

    def _unexpected(self) -> UnreadableError:
        return UnreadableError(
            f"unexpected {self._peek().text[:40]!r}" if self._peek() is not END else "the answer ends too early"
        )
