"""Fixtures for every layer of tests: the rule for GPU tests, and a tiny Llama that is real in everything but size."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Tests reach no hub and report to nobody, on any machine; set before anything reads it, and inherited by every process they start.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_MODE": "offline",
}.items():
    os.environ.setdefault(name, value)

# A busy machine is slow now and then, which is no property of the code; pytest's timeout ends what really hangs. In CI the same
# examples each time, so that a red run is red again. RLVR_EXAMPLES=2000 searches longer.
settings.register_profile(
    "rlvr", deadline=None, derandomize="CI" in os.environ, max_examples=int(os.environ.get("RLVR_EXAMPLES", "40"))
)
settings.load_profile("rlvr")

SPECIAL_TOKENS = PAD, BOS, EOS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]  # their ids are 0, 1, 2

# ChatML. `{% generation %}` marks what the assistant wrote, so that loss masks can be checked against the template itself.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['role'] == 'assistant' -%}
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}
{%- else -%}
{{ message['content'] + '<|im_end|>\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""

# Enough text for a few dozen merges; any byte can be encoded anyway.
CORPUS = [f"What is {a} + {b}? The answer is {a + b}." for a in range(10, 40) for b in range(10, 40, 3)] + [
    "system\nYou are a helpful assistant.",
    "user\nWhich of these numbers is the largest, and how many of them are there?",
    "assistant\nThe result is 57. Answer: 57",
]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes (`-n 2 --dist loadgroup`): what shares a fixture that takes long stays together, the rest is dealt out."""
    for item in items:
        if _layer(item) in ("contract", "loop", "gpu"):
            shares_engine = "vllm_engine" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("engine" if shares_engine else str(item.path)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    layer = _layer(item)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    _use_threads(max(1, len(os.sched_getaffinity(0)) // processes) if layer in ("loop", "gpu") else 1)
    if layer == "gpu" or item.get_closest_marker("gpu"):
        _skip_without_cuda()


def _layer(item: pytest.Item) -> str:
    """Its folder below `tests`."""
    return item.path.relative_to(item.config.rootpath / "tests").parts[0]


def _use_threads(count: int) -> None:
    """On tiny tensors a second thread costs more than it does, on a busy machine a hundred times more; a real model needs all."""
    os.environ["OMP_NUM_THREADS"] = str(count)  # for a torch that is imported later, and for processes that a test starts
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _skip_without_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `AutoModelForCausalLM` and `AutoTokenizer` (and vLLM) load: a random float32 Llama, the same every time.

    2 layers, hidden 64, 2 heads of 32 sharing 1 key/value head, tied embeddings, 512 positions, 320 byte-level BPE tokens,
    ChatML template, eos `<|im_end|>` and a pad token of its own. Treat the folder as read-only.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = _tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    pad, bos, eos = (SPECIAL_TOKENS.index(token) for token in (PAD, BOS, EOS))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.1,  # logits with a spread of about 1: a wrong token or position shows in the log-probs
        dtype="float32",
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(pad_token_id=pad, bos_token_id=bos, eos_token_id=eos)
    model.save_pretrained(folder)
    return folder


def _tiny_tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
