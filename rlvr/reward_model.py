"""A reward model: the policy's decoder and adapter with a head of one number in the place of the vocabulary's.

The reward of a completion is read at its last token, the end of the turn. What is saved is what transformers calls a model for sequence
classification with one label, so that `AutoModelForSequenceClassification` (and, for an adapter, peft) load it without rlvr. The head
starts at zero: an untrained model gives everything 0, whatever the seed.

S = completions, H = hidden size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from rlvr.errors import RlvrError
from rlvr.logprobs import final_hidden
from rlvr.policy import Policy, failing_as_oserror
from rlvr.token_groups import TokenGroup, split_into_micro_batches

HEAD = "score"
"""What transformers calls the head of a model for sequence classification."""


class RewardModel(Policy):
    """Takes over a policy's weights; from then on the two share them, and the reward model is the one that is trained.

    Raises `RlvrError` where others could not read the reward at the token where it is trained.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.model, policy.chat, layout=policy.layout, head_chunk_tokens=policy.head_chunk_tokens)
        if self.chat.pad_id == self.chat.turn_end_id:
            raise RlvrError(
                "a reward is read at the end of the turn, which is the pad token, too: transformers would read it a token early; "
                "name another with model.pad_token"
            )
        policy.replace_gradient_hooks(())  # an earlier learner's, which would carry the gradients away
        self.score = nn.Parameter(
            torch.zeros(1, self.head_weight.shape[1], device=self.device, dtype=policy.trainable_dtype)
        )

    def trainable(self) -> dict[str, nn.Parameter]:
        return {**super().trainable(), f"{HEAD}.weight": self.score}

    def rewards(self, groups: Sequence[TokenGroup]) -> torch.Tensor:
        """[S] in float32, with gradient: bfloat16 has too few digits to tell two good answers apart."""
        return F.linear(final_hidden(self, groups).float(), self.score.float()).squeeze(-1)

    @torch.no_grad()
    def frozen_rewards(self, groups: Sequence[TokenGroup], max_tokens: int) -> torch.Tensor:
        """The same without gradient over any number of groups, in micro-batches; [S] on the CPU."""
        found = torch.zeros(sum(len(group.completion_ids) for group in groups))
        for micro in split_into_micro_batches(groups, max_tokens):
            found[list(micro.sequences)] = self.rewards(micro.groups).cpu()
        return found

    def save(self, folder: Path) -> None:
        """As transformers and peft load it with one label; with the tokenizer, whose chat template it reads rewards under."""
        with failing_as_oserror():
            self.chat.tokenizer.save_pretrained(folder)
        if self.kind == "full":
            with failing_as_oserror():
                self._as_classifier().save_pretrained(folder)
            return
        super().save(folder)
        file = folder / "adapter_config.json"
        described = {**json.loads(file.read_text(encoding="utf-8")), "task_type": "SEQ_CLS", "modules_to_save": [HEAD]}
        file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        tensors = {**self._read(folder), f"base_model.model.{HEAD}.weight": self.score.detach().cpu()}
        draft = folder / ".adapter_model.safetensors"  # what was read is a view of the file that it will replace
        with failing_as_oserror():
            save_file(tensors, draft, metadata={"format": "pt"})
        draft.replace(folder / "adapter_model.safetensors")

    def load(self, folder: Path) -> None:
        tensors = self._read(folder)
        head = tensors.pop(f"{HEAD}.weight" if self.kind == "full" else f"base_model.model.{HEAD}.weight", None)
        if head is None or head.shape != self.score.shape:
            raise RlvrError(f"{folder}: holds no reward model for this base (its head is missing, or of another size)")
        self._put(tensors, folder)
        with torch.no_grad():
            self.score.copy_(head)

    def _as_classifier(self) -> PreTrainedModel:
        """The same tensors in transformers' own class."""
        config = type(self.causal_lm.config).from_dict({**self.causal_lm.config.to_dict(), "num_labels": 1})
        config.pad_token_id = self.chat.pad_id
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config, dtype=self.trainable_dtype)
        weights = {**self.causal_lm.state_dict(), f"{HEAD}.weight": self.score.detach()}
        model.load_state_dict(weights, strict=False, assign=True)
        empty = [name for name, weight in model.state_dict().items() if weight.is_meta]
        if empty:
            raise RlvrError(
                f"{type(model).__name__} has a weight that the policy lacks ({empty[0]}); train an adapter instead"
            )
        return model
