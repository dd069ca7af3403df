"""Cuts an answer into tokens. A few regular expressions, each linear in the text; every spelling of a sign becomes one."""

# ruff: noqa: RUF001

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

_NAMES = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho sigma tau upsilon phi chi psi
omega"""
_GREEK_LETTERS = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _NAMES.split(), strict=True))
# Characters that stand for what TeX or ASCII writes otherwise; invisible ones vanish.
_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "⁄": "/", "∕": "/",
        "±": r"\pm ", "∓": r"\mp ", "∞": r"\infty ", "°": r"\degree ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∪": r"\cup ",
        "∩": r"\cap ", "∖": r"\setminus ", "∈": r"\in ", "∅": r"\emptyset ", "≤": "<=", "≥": ">=", "≠": "!=", "⩽": "<=",
        "⩾": ">=", "≈": r"\approx ", "≡": r"\equiv ", "ℝ": r"\mathbb{R}", "→": r"\to ", "∠": r"\angle ", "∶": ":",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "…": "...", "⟨": r"\langle ", "⟩": r"\rangle ",
        "½": r"\frac12 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ", "⅕": r"\frac15 ",
        "⅖": r"\frac25 ", "⅗": r"\frac35 ", "⅘": r"\frac45 ", "⅙": r"\frac16 ", "⅚": r"\frac56 ", "⅛": r"\frac18 ",
        "⅜": r"\frac38 ", "⅝": r"\frac58 ", "⅞": r"\frac78 ",
        "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u3000": " ", "\u2003": " ", "\u2002": " ", "’": "'", "′": "'",
        "“": '"', "”": '"', "，": ",", "。": ".", "、": ",",
        **dict.fromkeys((0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x2060, 0x2065)), ""),
        **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "，"},
        **{letter: f"\\{name} " for letter, name in _GREEK_LETTERS.items()},
    }
)  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_BARRED = re.compile("(?:[0-9]\u0305)+")

# One spelling for each sign.
_SPELLINGS = {
    r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\leqq": "<=", r"\lt": "<", r"\ge": ">=", r"\geq": ">=",
    r"\geqslant": ">=", r"\geqq": ">=", r"\gt": ">", r"\ne": "!=", r"\neq": "!=", "==": "=", "**": "^", r"\cdot": "*",
    r"\times": "*", r"\ast": "*", r"\div": "/", r"\%": "%", r"\$": "$", r"\lbrace": r"\{", r"\rbrace": r"\}",
    r"\lbrack": "[", r"\rbrack": "]", r"\lparen": "(", r"\rparen": ")", r"\vert": "|", r"\lvert": "|", r"\rvert": "|",
    r"\mid": "|", r"\colon": ":", r"\degree": DEGREE, r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac",
    r"\dbinom": r"\binom", r"\tbinom": r"\binom", r"\varnothing": r"\emptyset", r"\backslash": r"\setminus",
    r"\lor": "or", r"\vee": "or", r"\land": "and", r"\wedge": "and", r"\fbox": r"\boxed", r"\langle": "(", r"\rangle": ")",
    r"\approxeq": r"\approx", r"\simeq": r"\approx", r"\varphi": r"\phi", r"\varepsilon": r"\epsilon", r"\infin": r"\infty",
    r"\prime": "'", r"\&": "&", r"\_": "_", r"\bmod": r"\pmod", r"\mod": r"\pmod", r"\euro": "€", r"\pounds": "£",
    "≅": r"\approx",
}  # fmt: skip

_TOKEN = re.compile(
    r"""
      (?P<space> (?: \s | ~ | \\[,;:!\ ] | \\(?:left|right)\.
                   | \\(?:q?quad|left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|boldsymbol|bm|rm|bf|it
                       |hspace\{[^{}]{0,20}\}|[hv]?phantom\{[^{}]{0,20}\}|thinspace|nobreak|allowbreak)(?![a-zA-Z]) )+ )
    | (?P<degree> \^\s?(?:\\circ(?![a-zA-Z])|\{\s?\\circ\s?\}|\\degree(?![a-zA-Z])) )
    | (?P<repeating> \d*\.\d*\s?\\(?:overline|bar|dot)\s?(?:\{\d{1,100}\}|\d) | \d*\.\d*\(\d{1,100}\)
                   | \d*\.\d{3,400}(?:\.\.\.|\\[cl]?dots(?![a-zA-Z])) )
    | (?P<number> \d+ (?: (?:,\\!|\{,\}|\\,|\\!) \s? \d{3} (?!\d) )* (?:\.\d+)? | \.\d+ )
    | \\(?:text|mbox|textrm|textnormal|textsf|texttt|textup|textbf|textit|mathrm|mathbf|mathit|mathsf|mathtt|mathcal|operatorname\*?
          |emph|underline|bold|mathord|mathop|hbox)
      \s? \{ (?P<text> [^{}]* ) \}
    | (?P<command> \\[a-zA-Z]+ | \\[{}$%&_\#|\\] )
    | (?P<word> [ap]\.\s?m\b\.? | [^\W\d_]+ )
    | (?P<mark> \*\* | <= | >= | != | == | \.\.\. | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SINGLE_DOLLAR = re.compile(r"(?<!\\)\$")
UNIT_LETTERS = frozenset("mgshlLJNWV")
"""Single letters that are a unit where they stand behind a number and a space."""


def clean(answer: str) -> str:
    """Without math delimiters, emphasis, a final full stop, and with Unicode signs in their TeX spelling."""
    text = answer if answer.isascii() else _ascii(answer)
    if "$" in text and len(_SINGLE_DOLLAR.findall(text)) % 2 == 0:
        text = _SINGLE_DOLLAR.sub(" ", text)  # pairs are delimiters, a lone one is money
    if "\\" in text:
        for delimiter in (r"\(", r"\)", r"\[", r"\]"):
            if delimiter in text:
                text = _without(text, delimiter)
    text = text.strip().strip("`").strip()
    text = text.removeprefix("**").removesuffix("**").strip().strip("`")
    text = text.removesuffix(r"\\").rstrip()
    return text if text.endswith("...") else text.rstrip(".,; ")


def _without(text: str, delimiter: str) -> str:
    r"""`\\[` is a line break and a bracket, not a delimiter."""
    return re.sub(r"(?<!\\)" + re.escape(delimiter), " ", text)


def _ascii(text: str) -> str:
    text = _BARRED.sub(lambda match: r"\overline{" + match[0].replace("\u0305", "") + "}", text)
    text = _RAISED_RUN.sub(lambda match: "^{" + match[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda match: "_{" + match[0].translate(_LOWERED) + "}", text)
    return text.translate(_UNICODE)


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
        elif kind == "degree":
            kind, content = "mark", DEGREE
        elif kind in ("mark", "command") and content in _SPELLINGS:
            content = _SPELLINGS[content]
            kind = "word" if content in ("and", "or") else "command" if content[0] == "\\" else "mark"
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


_WORDS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp cis sqrt or and"
_UPRIGHT = frozenset(_WORDS.split())


def _unit_letter(found: list[Token]) -> None:
    """`5 m` at the end of an answer is five metres, `5m` is five times m."""
    if len(found) >= 2 and found[-1].kind == "word" and found[-1].text in UNIT_LETTERS:
        before, last = found[-2], found[-1]
        if before.kind == "number" and before.end < last.start:
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
