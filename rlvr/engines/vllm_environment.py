"""Starting and stopping vLLM in this process: its environment variables, its log, its arguments, its global state."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rlvr.config.schema import EngineConfig
from rlvr.engines import vllm_cpu_lora
from rlvr.errors import RlvrError

DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "CRITICAL",  # its failures reach the user as one RlvrError; for more, set this variable
    "VLLM_NO_USAGE_STATS": "1",
    # Bound to cores, the learner and every process started later would stay on those of this thread.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
CPU_BATCHED_TOKENS = 4096
CPU_KV_BLOCK_TOKENS = 32  # vLLM's 128 would leave the short prompt of a group without one whole block to share


class AdapterRoom(NamedTuple):
    """What the engine reserves for the one adapter it holds."""

    rank: int
    modules: list[str]


def linear_layer_names(model_path: Path | str, revision: str | None) -> list[str]:
    """What peft's `all-linear` means for this model: the last name part of every linear layer but the LM head."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model_path, revision=revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise RlvrError(f"model.name: cannot load {model_path}: {' '.join(str(error).split())[:400]}") from None
    head = model.get_output_embeddings()
    layers = ((name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return sorted({name.rpartition(".")[2] for name, _ in layers})


def start(
    model_path: Path | str,
    config: EngineConfig,
    *,
    dtype: str,
    adapters: AdapterRoom | None,
    seed: int,
    revision: str | None,
) -> tuple[bool, Any]:
    """(runs on CUDA, vllm.v1.engine.llm_engine.LLMEngine). Raises `RlvrError` where vLLM is missing or will not start."""
    if importlib.util.find_spec("vllm") is None:
        raise RlvrError(
            "engine.kind=vllm: vLLM is not installed; run: pip install 'rlvr[cpu]' (or 'rlvr[cuda]'), or use kind=hf"
        )
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # before the import: the engine core stays in this process
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    import torch

    set_num_threads = torch.set_num_threads
    try:
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # vLLM's own, about its own dependencies
            return _start(model_path, config, dtype, adapters, seed, revision)
    except (ValueError, RuntimeError, OSError, ImportError, AssertionError) as error:
        said = " ".join(str(error).split())[:500] or f"{type(error).__name__} in {_place(error)}"
        raise RlvrError(f"vLLM does not start with {model_path}: {said}") from error
    finally:
        torch.set_num_threads = set_num_threads  # the CPU worker replaces it by a function that only complains


def _place(error: BaseException) -> str:
    """Where an exception without words came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}: {last.line}"


def _start(
    model_path: Path | str, config: EngineConfig, dtype: str, adapters: AdapterRoom | None, seed: int, revision: str | None
) -> tuple[bool, Any]:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    on_cpu = current_platform.is_cpu()
    on_cuda = current_platform.is_cuda_alike()
    arguments: dict[str, Any] = {
        "model": str(model_path),
        "revision": revision,
        "skip_tokenizer_init": True,  # token ids in, token ids out
        "dtype": dtype,
        "seed": seed,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_sequences,
        "enforce_eager": on_cpu if config.enforce_eager is None else config.enforce_eager,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # no sampling defaults from the model's files
        "logprobs_mode": "processed_logprobs",  # of the distribution that was sampled from, temperature applied
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "distributed_executor_backend": "uni",
        "enable_sleep_mode": on_cuda and config.sleep,
    }
    if on_cpu:
        arguments |= {
            "kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30),
            "block_size": CPU_KV_BLOCK_TOKENS,
            # A prompt split over two steps draws a token too many and takes it back by rewinding its random generator, which a
            # CPU generator cannot do: vLLM dies. So prompts are prefilled whole.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(CPU_BATCHED_TOKENS, config.max_model_len),
        }
    else:
        arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
    if adapters is not None:
        arguments |= {
            "enable_lora": True,
            "max_loras": 1,
            "max_lora_rank": adapters.rank,
            "lora_target_modules": adapters.modules,
        }
    llm = LLMEngine.from_engine_args(EngineArgs(**arguments))
    if on_cpu and adapters is not None and config.single_adapter_kernel and vllm_cpu_lora.can_install():
        llm.apply_model(vllm_cpu_lora.install)
    return on_cuda, llm


def stop(llm: Any) -> None:
    """Shuts the engine down and destroys the process groups it made."""
    from vllm.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

    with _quiet():
        llm.engine_core.shutdown()
        destroy_model_parallel()
        destroy_distributed_environment()
    del llm
    gc.collect()


def repack_head(model: Any) -> None:
    """After a reload on CPU: vLLM multiplies by a packed copy of the LM head, and leaves the old copy in place where the head is
    tied to the embeddings, because no weight of its own was loaded."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Gloo and vLLM's C++ code announce themselves on file descriptors 1 and 2; that is shown only if something fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
            if failed:
                said.seek(0)
                os.write(2, said.read()[-4000:])
