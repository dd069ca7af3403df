"""What `rlvr export` writes is the policy that was trained, for everyone who loads it: stock `vllm serve` with the command of its model
card, transformers with peft, and transformers alone for a merged export. All greedy, in float32, on the real model."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rlvr.config.load import parse_config, resolved
from rlvr.redaction import Redactor
from rlvr.run_folder import RunFolder
from tests.loop.test_commands import rlvr
from tests.vllm_server import StartVllm, VllmServer, vllm_server

if TYPE_CHECKING:
    from rlvr.policy import Policy

__all__ = ["vllm_server"]  # a fixture

pytestmark = [pytest.mark.vllm, pytest.mark.model]

RANK = 24  # more than the 16 that `vllm serve` has room for unless it is told
TOKENS = 16
QUESTIONS = ("What is the largest of 41, 87 and 26?", "Name a colour of the sky.", "How do bees make honey?")


@pytest.fixture(scope="module")
def trained(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Policy]:
    """A run folder with one policy in it whose adapter changes most answers, and that policy."""
    import torch

    from rlvr.policy import load_policy

    settings = {
        "model": {"name": "smollm2-135m-instruct", "dtype": "float32"},
        "adapter": {"rank": RANK, "alpha": 2 * RANK},
        "rl": {"tasks": [{"source": "arithmetic"}]},
        "device": "cpu",
    }
    config = parse_config(settings)
    policy = load_policy(config, smollm, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "made", Redactor({}))
    folder.describe(resolved(config), hashes={}, verifiers={})
    policy.save(folder.path / "best")
    return folder.path, policy


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, Policy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "adapter"
    rlvr("export", str(trained[0]), "-o", str(folder))
    return folder


@pytest.fixture(scope="module")
def server(vllm_server: StartVllm, exported: Path, smollm: Path) -> VllmServer:
    """Started with the command of the model card."""
    (line,) = [line for line in (exported / "README.md").read_text().splitlines() if line.startswith("`vllm serve")]
    program, serve, base, *arguments = shlex.split(line.strip("`").replace("FOLDER", str(exported)))
    assert (program, serve, base) == ("vllm", "serve", "smollm2-135m-instruct")
    return vllm_server(smollm, "--dtype", "float32", *arguments)


@pytest.fixture(scope="module")
def answers(trained: tuple[Path, Policy]) -> dict[str, list[str]]:
    """What our own engine answers, greedily: the base and the policy."""
    from rlvr.config.schema import EngineConfig
    from rlvr.engines.hf import HfEngine
    from rlvr.engines.protocol import GenerationRequest, PolicySnapshot

    folder, policy = trained
    prompts = [policy.chat.message_ids([{"role": "user", "content": question}]) for question in QUESTIONS]
    engine = HfEngine(policy, EngineConfig(kind="hf", max_model_len=512))

    async def sample(weights: Literal["policy", "base"]) -> list[str]:
        wanted = [
            GenerationRequest(index=i, prompt_ids=ids, seed=0, max_tokens=TOKENS, temperature=0, weights=weights)
            for i, ids in enumerate(prompts)
        ]
        found = {generation.index: generation async for generation in engine.generate(wanted)}
        return [policy.chat.plain_text(found[i].token_ids) for i in range(len(prompts))]

    asyncio.run(engine.load_policy(PolicySnapshot(version=1, kind="lora", path=folder / "best")))
    found = {"base": asyncio.run(sample("base")), "policy": asyncio.run(sample("policy"))}
    engine.close()
    assert all(ours != base for ours, base in zip(found["policy"], found["base"], strict=True))
    return found


def test_vllm_serve_answers_as_our_engine_does(answers: dict[str, list[str]], server: VllmServer) -> None:
    def ask(model: str, question: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": TOKENS}
        return server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    (base,) = [model["id"] for model in server.get("/v1/models")["data"] if model["parent"] is None]
    assert [ask("rlvr", question) for question in QUESTIONS] == answers["policy"]
    assert [ask(base, question) for question in QUESTIONS] == answers["base"]


@pytest.mark.parametrize("merged", [False, True])
def test_transformers_answers_as_our_engine_does(
    merged: bool, trained: tuple[Path, Policy], exported: Path, smollm: Path, answers: dict[str, list[str]], tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = exported
    if merged:
        where = tmp_path / "merged"
        rlvr("export", str(trained[0]), "-o", str(where), "--merge")
        model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
    else:
        base = AutoModelForCausalLM.from_pretrained(smollm, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, str(where))
    tokenizer = AutoTokenizer.from_pretrained(where)
    for question, expected in zip(QUESTIONS, answers["policy"], strict=True):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        generate: Any = model.generate
        output = generate(**asked, do_sample=False, max_new_tokens=TOKENS)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(output, skip_special_tokens=True) == expected
