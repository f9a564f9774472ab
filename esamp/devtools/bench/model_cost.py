"""What a sampling policy costs on a given model: processor time per token relative to stock vLLM with seeds.

Two engines stand side by side in one process, stock vLLM and ours with one policy. They take turns of BLOCK_STEPS decode steps on the same
batch, so that whatever the machine does meanwhile meets both; a round's number is the ratio of the two. Processor time is the one to read:
on a shared machine tokens per second scatter by far more than the percents that matter.
"""

import gc
import os
import platform
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

PROMPTS = (
    'def is_prime(n: int) -> bool:\n    """True if n has no divisors but 1 and itself."""\n',
    "Write a Python function that returns the longest common prefix of a list of strings.\n",
    "# Merge overlapping intervals\ndef merge(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:\n",
    "Explain step by step how many ways there are to climb 10 stairs, one or two at a time.\n",
)
WARM_UP_ROUNDS = 1
"""First rounds that are not counted: threads, caches and the allocator settle."""


class Sampling(Protocol):
    """How the tokens of a batch are drawn, in vLLM's words; actors.config.SamplingConfig is one."""

    @property
    def temperature(self) -> float: ...

    @property
    def top_p(self) -> float: ...

    @property
    def top_k(self) -> int: ...

    @property
    def min_p(self) -> float: ...


@dataclass(frozen=True, slots=True)
class PolicyCondition:
    """One policy, with or without per-token records."""

    name: str
    policy: dict[str, dict[str, Any]] | None
    """vLLM's additional_config; None for stock vLLM against itself, which tells how far the measurement can be trusted."""
    sampling: Sampling
    """Of both engines."""
    is_recorded: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The batch that is measured."""

    prompts: int = 4
    """Prompts, each with its own Distiller; the built-in ones are repeated."""
    samples: int = 16
    """Samples per prompt."""
    tokens: int = 24
    """Decode steps per round and engine, in turns of 8."""
    rounds: int = 20
    """Counted rounds of stock, vanilla and ESamp."""
    control_rounds: int = 3
    """Counted rounds of each baseline and control."""
    threads: int = 1
    """Threads of torch, and of the draw: OMP_NUM_THREADS of the process that measures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyCost:
    """One condition, over rounds."""

    name: str
    tokens_per_s: float
    """Median, of ours."""
    step_ms: float
    """Median decode step, wall clock."""
    cpu_ms: float
    """Median processor time of a decode step."""
    stock_cpu_ms: float
    cpu_ratios: list[float] = field(repr=False)
    """Per round: processor time by that of stock vLLM."""
    speed_ratios: list[float] = field(repr=False)
    """Per round: tokens/s by those of stock vLLM."""
    unfused_steps: int
    """Steps that the compiled draw could not make."""


def measure_policy(model: str, condition: PolicyCondition, shape: ModelShape, *, rounds: int) -> PolicyCost:
    """Measure one condition in a process of its own: engines of one process share what only ends with it."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=set_threads, initargs=(shape.threads,)
    ) as pool:
        return pool.submit(measure_here, model, condition, shape, rounds).result()


def set_threads(count: int) -> None:
    """Before torch is imported, which reads it then."""
    os.environ["OMP_NUM_THREADS"] = str(count)


def measure_here(model: str, condition: PolicyCondition, shape: ModelShape, rounds: int) -> PolicyCost:
    """Measure one condition in this process, which can measure no other afterwards."""
    # Sets what vLLM reads from the environment, so it is imported before vLLM and by no caller.
    from esamp.devtools.bench.engine_bench import BLOCK_STEPS, WARM_STEPS, StepTimer, Timing, synchronise, worker_of
    from esamp.engine.allocator import keep_freed_memory
    from esamp.exploration.explorer import Explorer

    keep_freed_memory()  # our worker does so; here stock vLLM has it too
    blocks = max(1, shape.tokens // BLOCK_STEPS)
    tokens = WARM_STEPS + blocks * (1 + BLOCK_STEPS)
    prompts = prompt_token_ids(model, shape.prompts)
    longest = max(map(len, prompts)) + tokens
    stock, ours = start(model, None, shape, longest), start(model, condition.policy, shape, longest)
    policy = worker_of(ours).policy if condition.policy is not None else None

    def wait() -> None:
        synchronise()
        if isinstance(policy, Explorer) and policy.learner is not None:
            policy.learner.refresh()

    def time_round(round_: int) -> tuple[Timing, Timing]:
        """Ours and stock's, in turns of BLOCK_STEPS decode steps; which comes first alternates."""
        timers = StepTimer(ours, wait), StepTimer(stock, synchronise)
        for timer in timers:
            add_batch(timer.engine, prompts, condition.sampling, shape, round_, tokens)
            timer.warm_up()
        gc.collect()
        gc.disable()
        for block in range(blocks):
            for timer in timers if (block + round_) % 2 else reversed(timers):
                timer.time_block()
        gc.enable()
        if condition.is_recorded and policy is not None:
            ours.collective_rpc("esamp_records", args=(tags_of(shape, round_),))
        first, second = (timer.timing(shape.prompts * shape.samples) for timer in timers)
        return first, second

    pairs = [time_round(round_) for round_ in range(WARM_UP_ROUNDS + rounds)][WARM_UP_ROUNDS:]
    middle = len(pairs) // 2
    return PolicyCost(
        name=condition.name,
        tokens_per_s=sorted(first.tokens_per_s for first, _ in pairs)[middle],
        step_ms=sorted(first.step_ms for first, _ in pairs)[middle],
        cpu_ms=sorted(first.cpu_ms for first, _ in pairs)[middle],
        stock_cpu_ms=sorted(second.cpu_ms for _, second in pairs)[middle],
        cpu_ratios=[first.cpu_ms / second.cpu_ms for first, second in pairs],
        speed_ratios=[first.tokens_per_s / second.tokens_per_s for first, second in pairs],
        unfused_steps=0 if policy is None else worker_of(ours).esamp_counters()["unfused_steps"],
    )


def start(model: str, policy: dict[str, dict[str, Any]] | None, shape: ModelShape, longest: int) -> Any:
    """A vLLM engine in this process; stock vLLM's without a policy."""
    import torch
    from vllm import LLM

    memory = {"gpu_memory_utilization": 0.35} if torch.cuda.is_available() else {"kv_cache_memory_bytes": 512 << 20}
    ours = {} if policy is None else {"worker_cls": "esamp.worker.ESampWorker", "additional_config": policy}
    return LLM(
        model,
        max_model_len=longest,
        max_num_seqs=shape.prompts * shape.samples,
        enforce_eager=True,
        disable_log_stats=True,
        enable_prefix_caching=False,
        skip_tokenizer_init=not has_tokenizer(model),
        **memory,
        **ours,
    )


def has_tokenizer(model: str) -> bool:
    """True unless `model` is a folder without a tokenizer: a random model has none."""
    folder = Path(model)
    return not folder.is_dir() or (folder / "tokenizer_config.json").exists()


def prompt_token_ids(model: str, count: int) -> list[list[int]]:
    """Token ids of `count` prompts: text where there is a tokenizer, else small random numbers."""
    if has_tokenizer(model):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        return [tokenizer.encode(PROMPTS[i % len(PROMPTS)]) for i in range(count)]
    numbers = random.Random(0)
    return [[numbers.randrange(64) for _ in range(16)] for _ in range(count)]


def tags_of(shape: ModelShape, round_: int) -> list[str]:
    """Names of the round's samples, by prompt."""
    return [f"{round_}/{prompt}/{sample}" for prompt in range(shape.prompts) for sample in range(shape.samples)]


def add_batch(
    engine: Any, prompts: list[list[int]], sampling: Sampling, shape: ModelShape, round_: int, tokens: int
) -> None:
    """Give the engine one round's requests: the same seeds to both engines."""
    from vllm import SamplingParams

    from esamp.request_args import GROUP_KEY, GROUP_SIZE_KEY, RECORD_KEY, SAMPLE_KEY

    for number, tag in enumerate(tags_of(shape, round_)):
        prompt = number // shape.samples
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=tokens,
            ignore_eos=True,
            detokenize=False,
            seed=round_ * 100_003 + number,
            extra_args={
                GROUP_KEY: f"{round_}/{prompt}",
                GROUP_SIZE_KEY: shape.samples,
                RECORD_KEY: tag,
                SAMPLE_KEY: number % shape.samples,
            },
        )
        engine.llm_engine.add_request(tag, {"prompt_token_ids": prompts[prompt]}, params)


def machine_name() -> str:
    """This machine's processor, for a table's caption."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
