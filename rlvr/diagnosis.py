"""Why this step taught little or nothing: one line, with the number that says so and the remedy.

Each rule below looks at one cause and returns its sentence or None. They stand in the order in which a user should act: what is
broken on our side, then what hides the signal (cut or unreadable answers), then what the signal is (too hard, too easy), then
the settings. The first that speaks is shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from rlvr.config.schema import Config, OptimizerConfig, RlConfig

MANY_FAILURES = 0.05  # share of rollouts whose verifier failed: each shrinks its group
MANY_TIMEOUTS = 0.10
MANY_TRUNCATED = 0.50
MANY_UNREADABLE = 0.50
MANY_ONE_SIDED = 0.75  # share of groups that are all wrong (or all right)
LARGE_ENGINE_GAP = 0.15  # nats a token; 0.04 to 0.05 is usual between two bfloat16 implementations of the same weights
MANY_MASKED = 0.25
MANY_CLIPPED = 0.25
FLOAT32 = "model.dtype=float32 (with LoRA on CUDA engine.kind=hf, too: vLLM's adapters there have 16 bits)"
LORA_FULL_RATE = 1e-5  # below this lie the learning rates of full fine-tuning, which hardly move an adapter
UNREADABLE_REASONS = ("no_answer", "unparsed", "missing", "repeated", "order", "empty", "outside", "format")
DEAD_REASONS = ("timeout", "crash")
BAR_WIDTH = 8
MOST_BARS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    metrics: Mapping[str, float]
    config: Config
    rl: RlConfig
    number: int | None

    def get(self, name: str) -> float:
        """The metric, or 0 where this step has none (no update, no timing, ...)."""
        return self.metrics.get(name, 0.0)

    def share(self, *reasons: str) -> float:
        return sum(self.get(f"reasons/{reason}") for reason in reasons)


def diagnose(metrics: Mapping[str, float], config: Config, step: int | None = None) -> str | None:
    """One line on an RL step from its metrics (docs/metrics.md), or None where nothing stands out.

    `step` counts from 1; what only needs saying once is said at step 1.
    """
    return next(iter(diagnose_all(metrics, config, step)), None)


def diagnose_all(metrics: Mapping[str, float], config: Config, step: int | None = None) -> list[str]:
    """Everything that stands out, in the order in which to act; `metrics` may be means over several steps."""
    if config.rl is None:
        return []
    seen = _Step(metrics, config, config.rl, step)
    return [sentence for rule in RULES if (sentence := rule(seen)) is not None]


def diagnose_learning_rate(optimizer: OptimizerConfig, config: Config, where: str) -> str | None:
    """A learning rate meant for full fine-tuning on an adapter; `where` is the setting's name. Also for `rlvr check`."""
    if config.adapter.kind != "lora" or optimizer.learning_rate >= LORA_FULL_RATE:
        return None
    return (
        f"{where}={optimizer.learning_rate:g} is a rate for full fine-tuning; LoRA wants about ten times more (2e-5 to 2e-4), below "
        f"{LORA_FULL_RATE:g} an adapter hardly moves"
    )


def reward_histogram(counts: Mapping[float, int]) -> str:
    """`0: 60 ████████  1: 4 ▌  (64 rewards, mean 0.06)` on one line; values are binned where there are more than eight."""
    total = sum(counts.values())
    if not total:
        return "no rewards"
    mean = math.fsum(value * n for value, n in counts.items()) / total
    bars = _binned(counts) if len(counts) > MOST_BARS else [(f"{value:g}", counts[value]) for value in sorted(counts)]
    largest = max(n for _, n in bars)
    drawn = "  ".join(f"{label}: {n} {_bar(n / largest)}".rstrip() for label, n in bars)
    return f"{drawn}  ({total} rewards, mean {mean:.2f})"


def _verifier_failures(step: _Step) -> str | None:
    failed = step.get("rollouts/infra_failures")
    rollouts = step.get("groups/sampled") * step.rl.group_size
    if not rollouts or failed / rollouts < MANY_FAILURES:
        return None
    return (
        f"{failed:.0f} of {rollouts:.0f} rollouts ({_percent(failed / rollouts)}) were dropped because the verifier itself failed: read "
        "`explanation` of the rows with reason `verifier_error` in this step's rollouts"
    )


def _skipped(step: _Step) -> str | None:
    norm = step.metrics.get("grad_norm")
    if norm is None or math.isfinite(norm):
        return None
    return (
        f"the update was skipped, its gradient norm is {norm} ({step.get('skipped_updates'):.0f} skipped so far): lower "
        f"rl.optimizer.learning_rate, or try {FLOAT32}"
    )


def _engine_gap(step: _Step) -> str | None:
    gap = step.get("engine_gap")
    if not gap > LARGE_ENGINE_GAP:
        return None
    return (
        f"engine and learner disagree by {gap:.2f} nats a token (about 0.05 is usual in bfloat16), so updates are off-policy: try "
        f"{FLOAT32}, or engine.kind=hf alone to see which side is wrong"
    )


def _masked(step: _Step) -> str | None:
    masked = step.get("importance_masked_fraction") + step.get("nonfinite_fraction")
    if masked < MANY_MASKED:
        return None
    return (
        f"{_percent(masked)} of the tokens left the loss because engine and learner disagree on them: widen "
        "rl.algorithm.importance_cap and importance_floor, or use importance_correction=truncate"
    )


def _dead_verifications(step: _Step) -> str | None:
    share = step.share(*DEAD_REASONS)
    if share < MANY_TIMEOUTS:
        return None
    return (
        f"{_percent(share)} of the completions stalled or crashed their verifier and score 0: raise verification.deadline_s "
        f"({step.config.verification.deadline_s:g} s) if they are honest answers"
    )


def _truncated(step: _Step) -> str | None:
    share = step.get("completion/truncated_fraction")
    if share < MANY_TRUNCATED:
        return None
    return (
        f"{_percent(share)} of the completions were cut at {step.rl.max_completion_tokens} tokens before they could answer: raise "
        "rl.max_completion_tokens, or teach the policy to stop with an sft stage"
    )


def _unreadable(step: _Step) -> str | None:
    share = step.share(*UNREADABLE_REASONS)
    if share < MANY_UNREADABLE:
        return None
    shares = [(name.removeprefix("reasons/"), value) for name, value in step.metrics.items() if name.startswith("reasons/")]
    worst = max((pair for pair in shares if pair[0] in UNREADABLE_REASONS), key=lambda pair: pair[1])
    return (
        f"{_percent(share)} of the completions hold no answer that the verifier can read (mostly `{worst[0]}`): show the format in the "
        "prompt, or warm-start with an sft stage"
    )


def _all_wrong(step: _Step) -> str | None:
    share = step.get("groups/all_wrong")
    if share < MANY_ONE_SIDED:
        return None
    return (
        f"{_of_groups(step, share)} are all wrong, so nothing tells good from bad: choose easier tasks, warm-start with sft, or raise "
        f"rl.group_size ({step.rl.group_size})"
    )


def _all_right(step: _Step) -> str | None:
    share = step.get("groups/all_right")
    if share < MANY_ONE_SIDED:
        return None
    return f"{_of_groups(step, share)} are all right, so little is left to learn from these tasks: choose harder ones, or stop here"


def _no_spread(step: _Step) -> str | None:
    share = step.get("groups/zero_variance")
    if share < MANY_ONE_SIDED:
        return None
    remedy = (
        "add tasks of middling difficulty"
        if step.rl.algorithm.dynamic_sampling
        else "set rl.algorithm.dynamic_sampling=true"
    )
    return (
        f"{_of_groups(step, share)} have equal rewards throughout ({_percent(step.get('groups/all_wrong'))} all wrong, "
        f"{_percent(step.get('groups/all_right'))} all right) and give no gradient: {remedy}"
    )


def _zero_gradient(step: _Step) -> str | None:
    informative = step.get("groups/sampled") and step.get("groups/zero_variance") < 1
    if step.metrics.get("grad_norm") != 0.0 or not informative:
        return None
    return (
        "the gradient is exactly 0 although rewards differ within groups: nothing trainable was reached; look at "
        "adapter.target_modules, and at rl.algorithm.overlong_filter if every completion was cut"
    )


def _clipped(step: _Step) -> str | None:
    share = step.get("clip_low_fraction") + step.get("clip_high_fraction")
    if share < MANY_CLIPPED:
        return None
    updates = step.rl.updates_per_batch * step.rl.passes_per_batch
    return (
        f"{_percent(share)} of the tokens are clipped and give no gradient: lower rl.optimizer.learning_rate, or make fewer updates a "
        f"batch ({updates} now)"
    )


def _learning_rate(step: _Step) -> str | None:
    return diagnose_learning_rate(step.rl.optimizer, step.config, "rl.optimizer.learning_rate")


def _loss_is_zero(step: _Step) -> str | None:
    on_policy = step.rl.updates_per_batch * step.rl.passes_per_batch == 1
    if step.number != 1 or not on_policy or not abs(step.metrics.get("loss", math.nan)) < 1e-2:
        return None
    return (
        f"loss {step.get('loss'):.4f} is right: on-policy, the advantages of a group cancel and the ratio is 1, so the loss is about 0 by "
        "construction while its gradient is not; watch reward/mean and grad_norm"
    )


RULES: tuple[Callable[[_Step], str | None], ...] = (
    _verifier_failures,
    _skipped,
    _engine_gap,
    _masked,
    _dead_verifications,
    _truncated,
    _unreadable,
    _all_wrong,
    _all_right,
    _no_spread,
    _zero_gradient,
    _clipped,
    _learning_rate,
    _loss_is_zero,
)


def _of_groups(step: _Step, share: float) -> str:
    sampled = step.get("groups/sampled")
    return f"{share * sampled:.0f} of {sampled:.0f} groups" if sampled else f"{_percent(share)} of the groups"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _binned(counts: Mapping[float, int]) -> list[tuple[str, int]]:
    low, high = min(counts), max(counts)
    width = (high - low) / MOST_BARS
    bins = [0] * MOST_BARS
    for value, n in counts.items():
        bins[min(MOST_BARS - 1, int((value - low) / width))] += n
    return [(f"{low + i * width:.2g}..{low + (i + 1) * width:.2g}", n) for i, n in enumerate(bins)]


def _bar(share: float) -> str:
    halves = round(share * BAR_WIDTH * 2)
    return "█" * (halves // 2) + "▌" * (halves % 2)
