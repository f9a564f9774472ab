"""GRPO on the embedded model with TRL, from samples of our engine: does a sampler help the training that its samples are for?

TRL's GRPOTrainer asks its `rollout_func` for samples; here a vLLM engine with a sampling policy generates them. Before each step the engine
is given the trainer's weights, by vLLM's own reload_weights: its worker then starts new prompt groups. Held-out problems are sampled by
the plain model, whatever the policy, so that all conditions are measured alike.

TRL 1.16.0 and accelerate beside this project: pip install --no-deps trl==1.16.0 accelerate==1.15.0

Legend: P held-out problems.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

# Before vLLM is imported: it reads them then. One process, so that weights need not be copied to another; any cores.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from vllm import LLM, RequestOutput, SamplingParams

from esamp.policy_config import PolicyConfig
from esamp.request_args import BETA_KEY, VANILLA_KEY
from esamp.server.arguments import ask_for_v1_runner, our_arguments
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.devtools.grpo.config import CONDITIONS, GrpoConfig
from pipelines.devtools.grpo.result import HELD_OUT_SAMPLES, GrpoResult, read_result, save
from pipelines.problems.countdown import (
    CountdownProblem,
    CountdownStatus,
    evaluation_problems,
    training_examples,
    verify_answer,
)

MAX_TOKENS = 48
"""Of an answer. Those of the model before training have about 24."""
BATCH = 256
"""Samples that the engine generates at a time."""
LEFT_TO_VLLM = {BETA_KEY: 0.0, VANILLA_KEY: True}
"""extra_args of a request that the plain model samples: the first for esamp, the second for the other policies."""


class TrainedEngine:
    """A vLLM engine that samples by a policy from the weights of a model under training, of one training after the other."""

    model: torch.nn.Module
    """Whose weights it is given."""

    def __init__(self, policy: PolicyConfig) -> None:
        self._llm = LLM(
            str(EMBEDDED_MODEL),
            dtype="float32",  # as the trainer's: in another, log-probabilities differ without any policy
            max_model_len=128,
            max_num_seqs=BATCH,
            kv_cache_memory_bytes=128 << 20,
            enforce_eager=True,
            disable_log_stats=True,
            **our_arguments(policy),
        )

    def sync_weights(self) -> None:
        """Give the engine the model's weights. TRL calls it before it asks for the samples of a step."""
        weights = [(name, weight.detach()) for name, weight in self.model.named_parameters()]
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        # vLLM keeps the prefix cache of the old weights.
        self._llm.reset_prefix_cache()

    def generate(
        self, prompts: Sequence[list[int]], *, samples: int, seeds: Sequence[int], extra_args: dict[str, Any]
    ) -> list[RequestOutput]:
        """`samples` of each prompt, in the order of the prompts, at temperature 1 without filters. Sample i has seed + i."""
        params = [
            SamplingParams(
                n=samples, seed=seed, temperature=1.0, max_tokens=MAX_TOKENS, logprobs=0, extra_args=extra_args
            )
            for seed in seeds
        ]
        return self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)


class GrpoTraining:
    """One training: TRL's trainer, and the engine that it gets its samples from."""

    def __init__(self, config: GrpoConfig, name: str, seed: int, engine: TrainedEngine) -> None:
        torch.manual_seed(seed)
        self._config, self._seed = config, seed
        self._condition = CONDITIONS[name]
        self._tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32, trust_remote_code=False)
        self._engine, engine.model = engine, model
        self._held_out = evaluation_problems(config.held_out)
        self._result = GrpoResult(condition=name, seed=seed, recipe=config.recipe)
        self._evaluation_s = 0.0
        self._trainer = self._make_trainer(model)

    def run(self) -> GrpoResult:
        """Train to the last step."""
        started = time.monotonic()
        self.evaluate(0)
        self._trainer.train()
        result = self._result
        logged = self._trainer.state.log_history
        result.rewards = [entry["reward"] for entry in logged if "reward" in entry]
        ratio = "sampling/importance_sampling_ratio"
        result.ratios = [entry[f"{ratio}/mean"] for entry in logged if f"{ratio}/mean" in entry]
        result.largest_ratios = [entry[f"{ratio}/max"] for entry in logged if f"{ratio}/max" in entry]
        result.training_s = time.monotonic() - started - result.sampling_s - self._evaluation_s
        return result

    def evaluate(self, step: int) -> None:
        """Count the correct samples of the held-out problems, by the weights as they are."""
        started = time.monotonic()
        self._engine.sync_weights()
        # The seeds are the same at every evaluation, and differ between the seeds of trainings.
        outputs = self._engine.generate(
            self._token_ids([problem.prompt for problem in self._held_out]),
            samples=HELD_OUT_SAMPLES,
            seeds=[seed_of(self._seed, step=10**6, place=place) for place in range(len(self._held_out))],
            extra_args=LEFT_TO_VLLM,
        )
        self._result.evaluated_at.append(step)
        self._result.correct_EP.append(
            [
                sum(is_correct(problem.prompt, completion.text) for completion in output.outputs)
                for problem, output in zip(self._held_out, outputs, strict=True)
            ]
        )
        self._evaluation_s += time.monotonic() - started

    def _make_trainer(self, model: torch.nn.Module) -> Any:
        from trl import GRPOConfig, GRPOTrainer  # not among the project's packages

        config, size = self._config, self._config.problems * self._config.samples
        problems = training_problems(config, self._seed)
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=rewards_of,
            args=GRPOConfig(
                output_dir=str(config.output / "trl"),
                max_steps=config.steps,
                per_device_train_batch_size=size,
                num_generations=config.samples,
                max_completion_length=MAX_TOKENS,
                temperature=1.0,
                learning_rate=config.learning_rate,
                lr_scheduler_type="constant",
                gradient_checkpointing=False,
                shuffle_dataset=False,
                vllm_importance_sampling_correction=self._condition.is_corrected,
                vllm_importance_sampling_mode="token_truncate",
                vllm_importance_sampling_clip_max=3.0,
                seed=self._seed,
                use_cpu=True,
                bf16=False,
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"prompt": [problem.prompt for problem in problems]}),
            processing_class=self._tokenizer,
            rollout_func=self._rollouts,
            callbacks=[EvaluationCallback(self)],
        )
        # TRL corrects the samples of a rollout_func only if it takes vLLM for their source, and of that it then asks sync_weights alone.
        # Its own source would be an engine without our settings, or one behind NCCL.
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, self._engine, -1
        return trainer

    def _rollouts(self, prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        """TRL's rollout_func: `prompts` has each prompt `samples` times, one behind the other; a sample of each."""
        started = time.monotonic()
        distinct, count, step = prompts[:: self._config.samples], self._config.samples, trainer.state.global_step
        assert prompts == [prompt for prompt in distinct for _ in range(count)]
        outputs = self._engine.generate(
            self._token_ids(distinct),
            samples=count,
            seeds=[seed_of(self._seed, step=step, place=place) for place in range(len(distinct))],
            extra_args={},
        )
        completions = [completion for output in outputs for completion in output.outputs]
        self._result.sampling_s += time.monotonic() - started
        return {
            "prompt_ids": [output.prompt_token_ids for output in outputs for _ in output.outputs],
            "completion_ids": [list(completion.token_ids) for completion in completions],
            # Of what was drawn from: see our_arguments.
            "logprobs": [
                [at[token].logprob for token, at in zip(completion.token_ids, completion.logprobs, strict=True)]
                for completion in completions
            ],
        }

    def _token_ids(self, prompts: list[str]) -> list[list[int]]:
        token_ids: list[list[int]] = self._tokenizer(prompts)["input_ids"]
        return token_ids

    @property
    def evaluates_after(self) -> int:
        """Steps between evaluations."""
        return self._config.evaluate_every


class EvaluationCallback(TrainerCallback):
    """Samples the held-out problems every so many steps."""

    def __init__(self, training: GrpoTraining) -> None:
        self._training = training

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Behind the optimiser's step."""
        if state.global_step % self._training.evaluates_after == 0:
            self._training.evaluate(state.global_step)


def rewards_of(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """TRL's reward function: 1 for a correct answer, else 0."""
    return [float(is_correct(prompt, completion)) for prompt, completion in zip(prompts, completions, strict=True)]


def is_correct(prompt: str, answer: str) -> bool:
    return verify_answer(CountdownProblem.from_prompt(prompt), answer).status is CountdownStatus.CORRECT


def training_problems(config: GrpoConfig, seed: int) -> list[CountdownProblem]:
    """Different problems for all steps of a training; the same for every condition."""
    wanted = config.steps * config.problems
    drawn: Mapping[str, CountdownProblem] = {
        # Far from the seeds of the training that made the model.
        problem.problem_id: problem
        for problem, _ in training_examples(10**9 + seed, 2 * wanted)
    }
    return list(drawn.values())[:wanted]


def seed_of(seed: int, *, step: int, place: int) -> int:
    """Of the first sample of a prompt; those of its siblings follow."""
    return ((seed * 10**7 + step) * 10**3 + place) * 10**3


def trainings(config: GrpoConfig) -> list[GrpoResult]:
    """Every training that the config asks for, one after the other; those that are saved in its folder are read. Raises InputError if they
    have another recipe."""
    ask_for_v1_runner()
    torch.set_num_threads(config.threads)
    engines: dict[PolicyConfig, TrainedEngine] = {}
    results = []
    for seed in config.seeds:
        for name in config.conditions:
            path = config.output / f"{name}-{seed}.json"
            if not path.exists():
                policy = CONDITIONS[name].policy
                if policy not in engines:
                    engines[policy] = TrainedEngine(policy)
                save(GrpoTraining(config, name, seed, engines[policy]).run(), path)
            results.append(read_result(config, path))
    return results
