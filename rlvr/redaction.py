"""Keeps secrets out of everything a run writes: values of secret environment variables, secret-looking arguments and well-known
token shapes become `[redacted]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REDACTED = "[redacted]"
SHORTEST_SECRET = 6  # shorter values ("1", "true") would blot out ordinary text

# HF_TOKEN, api_key, --wandb-key, CLIENT_SECRET, DBPASSWORD; but not max_tokens, `key` (a column), tokenizer or pad_token.
SECRET_NAME = re.compile(
    r"(?i)(?!(?:.*[._-])?(?:pad|eos|bos|unk|mask|sep|cls|stop|start|end|image|think)_token\Z)"
    r"(?:.*[_\-.](?:token|key)|token|apikey|.*(?:secret|password|passwd|credentials?))\Z"
)
SECRET_SHAPE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,200}|sk-[A-Za-z0-9_\-]{20,200}|gh[pousr]_[A-Za-z0-9]{20,200}|github_pat_[A-Za-z0-9_]{20,200}"
    r"|AKIA[A-Z0-9]{16}|xox[abprs]-[A-Za-z0-9\-]{10,200})"
)
URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]{0,200}):([^\s/@]{1,200})@")


class Redactor:
    """Removes the secrets of an environment from text and nested values. Built once a run: the environment is read here."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        values = {value for name, value in environment.items() if SECRET_NAME.match(name) and len(value) >= SHORTEST_SECRET}
        # Longest first: one secret may begin with another.
        self._values = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True)))) if values else None

    def text(self, text: str) -> str:
        if self._values is not None:
            text = self._values.sub(REDACTED, text)
        text = SECRET_SHAPE.sub(REDACTED, text)
        return URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)

    def value(self, value: Any) -> Any:
        """The same value with every string cleaned; what stands under a secret name is replaced whole."""
        if isinstance(value, str | Path):
            return self.text(str(value))
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._entry(str(key), item) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return [self.value(item) for item in value]
        return value

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """Arguments with `--token X`, `--api-key=X` and `rl.tasks.0.args.api_key=X` redacted."""
        cleaned: list[str] = []
        hide_next = False
        for argument in arguments:
            name, equals, _ = argument.partition("=")
            is_secret = SECRET_NAME.match(name.lstrip("-")) is not None
            if hide_next:
                cleaned.append(REDACTED)
            elif is_secret and equals:
                cleaned.append(f"{name}={REDACTED}")
            else:
                cleaned.append(self.text(argument))
            hide_next = is_secret and not equals and argument.startswith("-") and not hide_next
        return cleaned

    def _entry(self, key: str, item: Any) -> Any:
        return REDACTED if SECRET_NAME.match(key) and isinstance(item, str) and item else self.value(item)
