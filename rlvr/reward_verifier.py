"""`reward_model`: what a trained reward model says of a completion. An opinion, not a verification.

    verifier_args: {model: FOLDER}      an adapter or a model, as the reward_model stage or transformers saved it with one label
                   pass_from: 0.5       passes from this value up
                   device: cpu          or cuda

The value is σ(reward): the probability that the completion beats one of reward 0, bounded as every score is; the reward itself is in
`metrics`. Each worker process loads a copy (`verification.workers`), and scores one completion at a time, so that a score does not
depend on its neighbours. No torch is imported before a worker needs it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_verifiers.arguments import ArgumentReader
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.judge.verifier import OPINION
from rlvr_verifiers.response import final_text
from rlvr_verifiers.types import Completion, Score, Task

if TYPE_CHECKING:
    import torch

    from rlvr.chat_template import ChatFormat

LOADING_S = 300.0
"""What a verification may take: the first one of a worker loads the model."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    model: str
    pass_from: float
    device: str


class RewardModelVerifier:
    reasons = frozenset({"ok", "below", "no_answer", "too_large"})
    verifiable = False
    effects = frozenset({"files"})

    def prepare(self) -> None:
        """Imports what takes long, before any clock runs."""
        import peft  # noqa: F401
        import transformers  # noqa: F401

    def check_task(self, task: Task) -> str | None:
        try:
            options = _options_of(task)
        except VerifierError as error:
            return str(error)
        folder = Path(options.model).expanduser()
        if not any((folder / name).is_file() for name in ("adapter_config.json", "config.json")):
            return f"verifier_args of 'reward_model': {folder} holds no model (adapter_config.json or config.json)"
        return None

    def deadline_s(self, task: Task) -> float:
        return LOADING_S

    def score(self, task: Task, completion: Completion) -> Score:
        options = _options_of(task)
        text = final_text(completion)
        if text is None or not text.strip():
            return _refused("no_answer", "the completion has no answer to judge")
        model = _loaded(options.model, options.device)
        ids = model.ids(task, text)
        if len(ids) > model.longest:
            return _refused("too_large", f"prompt and answer have {len(ids)} tokens, the reward model reads {model.longest}")
        reward = model.reward(ids)
        value = _logistic(reward)
        passed = value >= options.pass_from
        return Score(
            value=value,
            passed=passed,
            reason="ok" if passed else "below",
            explanation=f"reward {reward:.3f}, value {value:.3f}; {options.pass_from:g} passes",
            parsed=f"{reward:.3f}",
            metrics={**OPINION, "reward": reward},
        )


def _options_of(task: Task) -> Options:
    read = ArgumentReader("reward_model", task.verifier_args)
    model = read.text("model")
    options = Options(model or "", read.number("pass_from", 0.5), read.one_of("device", ("cpu", "cuda")))
    read.finish()
    if not options.model:
        raise VerifierError("verifier_args of 'reward_model': 'model' is missing; give the folder of a reward model")
    return options


def _refused(reason: str, said: str) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=said, metrics=OPINION)


def _logistic(reward: float) -> float:
    return 1 / (1 + math.exp(-reward)) if reward > -700 else 0.0


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A reward model in this process."""

    decoder: Any
    head: torch.Tensor  # [1, H] float32
    chat: ChatFormat
    longest: int

    def ids(self, task: Task, text: str) -> list[int]:
        """Prompt and answer as in training; marks of the template in the answer are text here, and open no turn."""
        tokenizer = self.chat.tokenizer
        text = text.encode("utf-8", "replace").decode()  # half surrogates have no tokens
        answer = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*self.chat.message_ids(task.prompt, task.tools), *answer, self.chat.turn_end_id]  # type: ignore[list-item]

    def reward(self, ids: list[int]) -> float:
        """Of the last token, in float32 from the hidden state on: bfloat16 has too few digits to tell two good answers apart."""
        import torch

        with torch.no_grad():
            row = torch.tensor([ids], device=self.head.device)
            hidden = self.decoder(input_ids=row, use_cache=False).last_hidden_state[0, -1]
            return float(self.head[0] @ hidden.float())


@functools.lru_cache(maxsize=2)
def _loaded(name: str, device: str) -> _Loaded:
    """Raises VerifierError where the folder holds no model with one label."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, GenerationConfig

    from rlvr.chat_template import check_chat_format
    from rlvr.errors import RlvrError
    from rlvr.models import locate_model

    torch.set_num_threads(1)  # one of several workers beside a trainer that computes
    folder = Path(name).expanduser()
    described = folder / "adapter_config.json"
    try:
        where: Path | str = folder
        if described.is_file():
            where = locate_model(json.loads(described.read_text(encoding="utf-8"))["base_model_name_or_path"])
        model: Any = AutoModelForSequenceClassification.from_pretrained(where, num_labels=1, dtype="auto")
        if described.is_file():
            model = PeftModel.from_pretrained(model, str(folder)).get_base_model()
        tokenizer = AutoTokenizer.from_pretrained(folder if (folder / "tokenizer_config.json").is_file() else where)
        try:
            generation = GenerationConfig.from_pretrained(where)
        except OSError:
            generation = None
        chat = check_chat_format(tokenizer, generation, where=name)
    except (OSError, ValueError, KeyError, RuntimeError, RlvrError) as error:
        raise VerifierError(f"reward_model: {folder} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    model.eval().to(device)
    head = next(weight for path, weight in model.named_parameters() if path.startswith("score.") and "original" not in path)
    return _Loaded(
        model.base_model, head.detach().float(), chat, int(model.config.get_text_config().max_position_embeddings)
    )
