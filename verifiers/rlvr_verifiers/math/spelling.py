"""An answer before it is cut into tokens: delimiters, Unicode and rare spellings give way to one plain TeX.

Every rewriting is a regular expression, linear in the text, and runs only where the sign that calls for it occurs.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import functools
import re

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
        "“": '"', "”": '"', "，": ",", "。": ".", "、": ",", "″": "''", "º": r"\degree ", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
        "ℚ": r"\mathbb{Q}", "∧": r"\land ", "∨": r"\lor ", "⇒": r"\implies ", "∴": r"\therefore ", "¢": r"\text{ cents}",
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

_SINGLE_DOLLAR = re.compile(r"(?<!\\)\$")
_FONT = r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|textit|rm)\s?"
_ROUGHLY = r"(?:approximately|approx\.?|roughly|around|about|exactly|precisely|only|just|a\stotal\sof)"
_UNIT_IN_FONT = rf"((?:\s|\\[,;:\ ])*{_FONT}\{{[^{{}}]*\}}(?:\s?\^\s?(?:\d|\{{\d\}}))?)\s?"
_ORDINAL = r"(\d)\s?\^?\s?(?:\{\s?\\(?:text|mathrm)\s?\{\s?TH\s?\}\s?\}|\\(?:text|mathrm)\s?\{\s?TH\s?\}|\{TH\}|TH\b)"
_TEMPERATURE = (
    r"(?:\^\s?)?\{?\s?\\(?:circ|degree)(?![a-zA-Z])\s?\}?\s?(?:\\(?:text|mathrm|rm)\s?\{\s?)?LETTER\}?(?![a-zA-Z_])"
)
_CHOSEN = r"(?<![A-Za-z0-9})])(?:\{\s?\})?[_^](\d|[a-z]|\{[^{}]{1,20}\})\s?C_(\d|[a-z]|\{[^{}]{1,20}\})"
# fmt: off
_REWRITINGS: tuple[tuple[str, str, str], ...] = (
    ("{", r"(?<!\\)(?<!text)(?<!mbox)(?<!rm)\{([.:;=<>]|,(?!\d{3}(?!\d)))\}", r"\1"),  # but not the comma of thousands
    ("[", r"\\\\\s?\[\s?-?[\d.]{1,8}\s?(?:pt|ex|em|mm|cm|in)\s?\]", r"\\\\"),  # a line break with its height
    ("^", r"\A([(\[][^()\[\]]*,[^()\[\]]*[)\]])\s?\^\s?\{?\s?(?:\\top|T)\s?\}?\Z", r"\1"),  # a column, transposed row
    ("color", r"\\(?:text|page)?color(?:box)?\s?\{[^{}]*\}", ""),
    (r"\tag", r"\\tag\*?\s?\{[^{}]*\}", ""),
    ("angle", r"(?<![a-zA-Z\\])m\s?\\angle|\\measuredangle", r"\\angle"),
    ("mod", rf"{_FONT}\{{\s?\(?\s?mod(?:ulo)?\s?(\d{{1,9}})\s?\)?\s?\}}", r"\\pmod{\1}"),
    ("mod", rf"\(\s?(?:{_FONT}\{{\s?mod\s?\}}|\\?[bp]?mod)(?:\s|~|\\[,;:\ ])*\{{?(\d{{1,9}})\}}?\s?\)", r"\\pmod{\1}"),
    ("mod", r"(?<![\\a-zA-Z])mod(?:ulo)?\s{1,3}(\d{1,9})", r"\\pmod{\1}"),
    ("C", _TEMPERATURE.replace("LETTER", "C"), r"\\text{ celsius}"),
    ("F", _TEMPERATURE.replace("LETTER", "F"), r"\\text{ fahrenheit}"),
    ("C(", r"(?<![A-Za-z\\])C\((\w{1,3}),\s?(\w{1,3})\)", r"\\binom{\1}{\2}"),
    ("(", r"\A[A-Z]\s?(\([^()=]+,[^()=]+\))\Z", r"\1"),  # a point with its name
    ("C_", _CHOSEN, r"\\binom{\1}{\2}"),
    ("US", r"\bUSD?\s?(?=\\?\$)", ""),
    ("USD", r"\bUSD\s?(?=\d)", r"\\$"),
    ("frac", rf"\\[dt]?frac\s?\{{{_UNIT_IN_FONT}\}}\s?\{{{_UNIT_IN_FONT}\}}", r"\1/\2"),
    ("integer", rf",?\s?(?:{_FONT}\{{)?\s?(?:where|for|with)\b[^,=<>]{{0,60}}\bintegers?\b[^,=<>]{{0,12}}\Z", ""),
    ("th", _ORDINAL.replace("TH", "th"), r"\1"),
    ("st", _ORDINAL.replace("TH", "st"), r"\1"),
    ("nd", _ORDINAL.replace("TH", "nd"), r"\1"),
    ("rd", _ORDINAL.replace("TH", "rd"), r"\1"),
    ("clock", r"\bo'\s?clock\b", ""),
    ("in the", r"\bin the (?:afternoon|evening)\b", "p.m."),
    ("in the", r"\bin the morning\b", "a.m."),
)
"""A text that must occur, a pattern, and what it becomes, in this order. Compiled at first use: most answers need none."""
# fmt: on
_LEADS = re.compile(
    rf"(?:=|:|\\(?:therefore|implies|Rightarrow|Longrightarrow|rightarrow)(?![a-zA-Z])|{_FONT}\{{\s?{_ROUGHLY}\s?\}}|"
    rf"{_ROUGHLY}\s(?=\S)|(?:(?:so|thus|hence|therefore),?\s)?(?:the\s(?:final\s|correct\s)?(?:answer|result)\s(?:is|equals)|"
    r"there\s(?:are|is)|(?:it|this)\s(?:is|equals)|it's|we\s(?:get|have)|(?:final\s)?answer:)\s(?=\S))\s*",
    re.IGNORECASE,
)
"""What may stand before an answer and says nothing."""
_FONTS = re.compile(_FONT + r"\{([^{}]*)\}|\\overline\s?\{(\d+)\}")
_MAX_LEADS = 4
_ROUGHLY_BEHIND = r"(?:approximately|approx\.?|exactly|exact|rounded(?:\s[\w\s]{1,40})?)"
_REMARK = re.compile(
    rf"(?:\(\s?{_FONT}\{{\s?{_ROUGHLY_BEHIND}\s?\}}\s?\)|{_FONT}\{{\s?\(?\s?{_ROUGHLY_BEHIND}\s?\)?\s?\}}"
    rf"|\(\s?{_ROUGHLY_BEHIND}\s?\)|\s{_ROUGHLY_BEHIND})\s?\Z",
    re.IGNORECASE,
)
_MAX_REMARK = 80
_TAIL = re.compile(r"(?:\\[,;:!\ ]|\\q?quad|\\\\|\\text\s?\{\s?[.,]?\s?\}|[.,;\s])\Z")
_TAIL_LENGTH = 12


def clean(answer: str) -> str:
    """Without math delimiters, emphasis, remarks and a final full stop, and with rare spellings as plain TeX."""
    text = answer if answer.isascii() else _ascii(answer)
    if "$" in text and len(_SINGLE_DOLLAR.findall(text)) % 2 == 0:
        text = _SINGLE_DOLLAR.sub(" ", text)  # pairs are delimiters, a lone one is money
    if "\\" in text:
        for delimiter in (r"\(", r"\)", r"\[", r"\]"):
            if delimiter in text:
                text = _without(text, delimiter)
    text = text.strip().strip("`").strip()
    text = text.removeprefix("**").removesuffix("**").strip().strip("`")
    if text.isdigit():
        return text
    for trigger, pattern, becomes in _REWRITINGS:
        if trigger in text:
            text = _compiled(pattern).sub(becomes, text)
    return _trimmed(_without_leads(_trimmed(text)))


def without_fonts(text: str) -> str:
    r"""With `\text{...}` and the like as the plain words in them."""
    return _FONTS.sub(lambda match: match[1] or match[2] or "", text).strip() if "\\" in text else text


_compiled = functools.cache(re.compile)


def _without_leads(text: str) -> str:
    for _ in range(_MAX_LEADS):
        lead = _LEADS.match(text)
        if lead is None:
            break
        text = text[lead.end() :]
    start = max(0, len(text) - _MAX_REMARK)
    remark = _REMARK.search(text, start) if text[-1:] in (")", "}", ".") or text[-1:].isalpha() else None
    return text[: remark.start()] if remark and remark.start() else text


def _trimmed(text: str) -> str:
    """Without spaces and punctuation at its end; dots say that digits go on."""
    while text and not (text[-1].isalnum() or text[-1] in ")]|'!") and not text.endswith("..."):
        tail = _TAIL.search(text, max(0, len(text) - _TAIL_LENGTH))
        if tail is None:
            break
        text = text[: tail.start()]
    return text


def _without(text: str, delimiter: str) -> str:
    r"""`\\[` is a line break and a bracket, not a delimiter."""
    return re.sub(r"(?<!\\)" + re.escape(delimiter), " ", text)


def _ascii(text: str) -> str:
    text = _BARRED.sub(lambda match: r"\overline{" + match[0].replace("\u0305", "") + "}", text)
    text = _RAISED_RUN.sub(lambda match: "^{" + match[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda match: "_{" + match[0].translate(_LOWERED) + "}", text)
    return text.translate(_UNICODE)
