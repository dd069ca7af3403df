"""The doctor tries 4-bit weights for real, and finds out a quantiser that does not work."""

from __future__ import annotations

import pytest

from rlvr import doctor


def test_four_bit_round_trip() -> None:
    pytest.importorskip("bitsandbytes")
    check = doctor.check_nf4()
    assert check.status == "ok", check.detail
    assert "rounding error 9." in check.detail


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_a_quantiser_that_loses_all_or_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    pytest.importorskip("bitsandbytes")
    import bitsandbytes.functional
    import torch

    weight = torch.randn(128, 256, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", lambda packed, state: factor * weight)
    assert doctor.check_nf4().status == "limited"
