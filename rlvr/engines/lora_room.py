"""How large an adapter vLLM has room for: it reserves one of a few ranks, the same in this process and in `vllm serve`."""

from __future__ import annotations

from rlvr.errors import RlvrError

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def room_for(rank: int) -> int:
    """The smallest rank vLLM reserves room for that holds `rank`. Raises `RlvrError` above the largest."""
    fitting = [r for r in LORA_RANKS if r >= rank]
    if not fitting:
        raise RlvrError(f"adapter.rank={rank}: vLLM holds adapters of rank {LORA_RANKS[-1]} at most; use engine.kind=hf")
    return fitting[0]
