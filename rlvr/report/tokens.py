"""Where each token ends in a completion's text, from the tokenizer's own vocabulary; nothing is tokenised again.

A run folder holds token ids and text. The piece of text of each id is looked up, and only where the pieces join to exactly the
recorded text are the boundaries used: colours on the wrong words would be worse than none.
"""

from __future__ import annotations

import codecs
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlvr.errors import RlvrError
from rlvr.models import locate_model


class TokenPieces:
    """Bytes of each token id of one tokenizer."""

    def __init__(self, tokenizer_json: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
        decoder = json.dumps(json.loads(self._tokenizer.to_str()).get("decoder") or {})
        self._byte_level = '"ByteLevel"' in decoder
        self._added = {i: token.content for i, token in self._tokenizer.get_added_tokens_decoder().items()}
        self._known: dict[int, bytes | None] = {}

    def aligned(self, ids: Sequence[int], mask: Sequence[bool], text: str) -> tuple[str, list[int]] | None:
        """The text that all tokens join to, and the length of each one's piece in UTF-16 units (what JavaScript counts).

        `text` is what was recorded, which in a conversation is what the policy wrote: the tokens whose `mask` is true. What was shown
        to it between its turns is then part of the answer here. None where the pieces do not join to the recorded text.
        """
        pieces = self._pieces(ids)
        if pieces is None:
            return None
        joined = "".join(pieces)
        if joined != text and joined == f" {text}":  # sentencepiece's first word carries a space that decoding strips
            first = next(i for i, piece in enumerate(pieces) if piece)
            pieces[first] = pieces[first][1:]
            joined = text
        if joined != text and "".join(piece for piece, own in zip(pieces, mask, strict=True) if own) != text:
            return None
        return joined, [_utf16_units(piece) for piece in pieces]

    def _pieces(self, ids: Sequence[int]) -> list[str] | None:
        """Text of each token; a character split over several tokens belongs to the one that completes it. None: an unknown id."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        for i in ids:
            piece = self._bytes(i)
            if piece is None:
                return None
            pieces.append(decoder.decode(piece))
        if pieces:
            pieces[-1] += decoder.decode(b"", final=True)
        return pieces

    def _bytes(self, i: int) -> bytes | None:
        if i not in self._known:
            self._known[i] = self._look_up(i)
        return self._known[i]

    def _look_up(self, i: int) -> bytes | None:
        if i in self._added:
            return self._added[i].encode()
        token = self._tokenizer.id_to_token(i)
        if token is None:
            return None
        if self._byte_level:
            return bytes(BYTE_OF[c] for c in token) if all(c in BYTE_OF for c in token) else token.encode()
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode()


def token_pieces(config: Mapping[str, Any]) -> TokenPieces | str:
    """The tokenizer of a run's config, or a sentence that says why there is none on this machine. Downloads nothing."""
    model = config.get("model") or {}
    if not model.get("name"):
        return "the run folder names no model"
    return _pieces_of(str(model["name"]), model.get("revision"))


@functools.cache  # runs that are compared share their model
def _pieces_of(name: str, revision: str | None) -> TokenPieces | str:
    try:
        where = locate_model(name, revision)
    except RlvrError as error:
        return str(error)
    file = where / "tokenizer.json" if isinstance(where, Path) else _cached(where, revision)
    if file is None or not file.is_file():
        return f"the tokenizer of {name} is not on this machine"
    return TokenPieces(file)


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "tokenizer.json", revision=revision)
    return Path(found) if isinstance(found, str) else None


def _utf16_units(piece: str) -> int:
    return len(piece) + sum(c > "\uffff" for c in piece)


def _byte_of() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (Radford et al., 2019): printable ones for themselves."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTE_OF = _byte_of()
