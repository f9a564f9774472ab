"""A vLLM worker with Exploratory Sampling: the entry point for users of plain vLLM, no Ray needed.

    from vllm import LLM, SamplingParams

    llm = LLM(
        "Qwen/Qwen2.5-7B-Instruct",
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"esamp": {"beta": 0.25}},
    )
    outputs = llm.generate(prompts, SamplingParams(n=16, temperature=1.0, max_tokens=1024))
    print(llm.collective_rpc("esamp_counters"))

Requests with the same prompt share a Distiller; `SamplingParams(extra_args={"esamp_group": "my-problem"})` names the group instead, and
`extra_args={"esamp_beta": 0.0}` leaves a request vanilla. The baselines run in the same worker: see esamp/policies.py.
On CUDA set VLLM_USE_V2_MODEL_RUNNER=0.
"""

from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from esamp.batch import NewRequest
from esamp.engine import adapter
from esamp.engine.allocator import keep_freed_memory
from esamp.engine.platform_worker import IS_CPU, PlatformWorker, SchedulerOutput
from esamp.exploration.explorer import Explorer
from esamp.policies import parse_policy
from esamp.policy import SamplingPolicy, build_policy
from esamp.request_args import GROUP_KEY, RECORD_KEY, RECORD_ROLLOUT_KEY, group_of
from esamp.telemetry import TelemetryRecorder


class ESampWorker(PlatformWorker):
    """vLLM's worker for this platform, with a sampling policy between its forward pass and its draw."""

    policy: SamplingPolicy
    telemetry: TelemetryRecorder
    decode_rows: int
    has_unread_weights: bool
    """Weights were written of which the policy does not know yet."""

    def load_model(self, *, load_dummy_weights: bool = False) -> None:
        """Load the model, then attach the policy; raises UnsupportedEngine, or ValueError on a bad setting."""
        config = parse_policy(self.vllm_config.additional_config)
        if IS_CPU:
            keep_freed_memory()
        # Before the weights are read: a forgotten variable should not cost minutes.
        adapter.check_engine(self)
        if not config.supports_lora:
            adapter.check_no_lora(self, config.name)
        super().load_model(load_dummy_weights=load_dummy_weights)
        # Before profiling, compilation and graph capture, which must see the sampler and the extra output of the shallow layer.
        adapter.check_runner(self)
        self.telemetry = TelemetryRecorder()
        self.decode_rows = 0
        self.sampler = adapter.install_sampler(self)
        self.policy = build_policy(config, self)
        self.has_unread_weights = False
        adapter.watch_weights(self, self._weights_written)

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """Follow the requests, then run the forward pass; a policy may predict meanwhile."""
        if self.has_unread_weights:
            self.esamp_reset()
        finished, new = scheduler_output.finished_req_ids, adapter.new_requests(scheduler_output)
        for request_id in finished:
            self.telemetry.forget(request_id)
        new = [of_weight_version(request, self.telemetry.weight_version) for request in new]
        for request in new:
            if RECORD_KEY in request.extra_args:
                for_rollout = request.extra_args.get(RECORD_ROLLOUT_KEY, False)
                self.telemetry.follow(request.request_id, request.extra_args[RECORD_KEY], for_rollout=for_rollout)
        self.policy.follow(finished, new)
        with self.policy.forward_pass():
            return super().execute_model(scheduler_output)

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Plan the step, sample, record, learn."""
        step = adapter.read_step(self, self.policy.captured)
        if step is None:
            return super().sample_tokens(grammar_output)
        self.decode_rows += sum(step.is_decode)
        is_recording = self.telemetry.wants(step)
        plan = self.policy.before_sampling(step, is_recording=is_recording)
        self.sampler.prepare(
            plan.processor,
            is_recording=is_recording,
            sees_plain_model=plan.sees_plain_model,
            row_draw=plan.row_draw,
            records_rollout=is_recording and self.telemetry.wants_rollout(step),
            # vLLM masks the logits in place, between here and the sampler.
            unmasked_BV=adapter.plain_logits(self).clone() if is_recording and grammar_output is not None else None,
        )
        with adapter.unread_prompts_unseeded(self) if IS_CPU else nullcontext():
            output = super().sample_tokens(grammar_output)
        if self.sampler.draw is not None:
            # Before after_sampling: training overwrites the losses, and the policy drops what it knows of the step.
            self.telemetry.append(step, self.sampler.draw, self.policy.measures(step))
        assert self.sampler.tokens_B is not None
        self.policy.after_sampling(step, self.sampler.tokens_B)
        return output

    def reload_weights(self, *args: Any, **kwargs: Any) -> None:
        """As vLLM's."""
        super().reload_weights(*args, **kwargs)
        self.esamp_reset()

    def finish_weight_update(self) -> None:
        """As vLLM's: the last of a trainer's weights has arrived."""
        super().finish_weight_update()
        self.esamp_reset()

    def esamp_reset(self) -> int:
        """For collective_rpc: the model's weights are others than before. vLLM's own ways to change them call it, and so does the first
        step after calls of the model's load_weights; who writes weights in another way calls it after the last. Returns the weight
        version, which every record has.

        What was learned of other weights does not go on: requests that come are in new groups, Distillers that prompts share start anew,
        and the initial gain is read again. Requests under way keep the Distillers of their groups, which learn on.
        """
        self.has_unread_weights = False
        self.telemetry.weight_version += 1
        adapter.pack_tied_head(self)
        self.policy.weights_changed()
        return self.telemetry.weight_version

    def _weights_written(self) -> None:
        self.has_unread_weights = True

    @property
    def explorer(self) -> Explorer:
        """The policy, if it is ESamp with beta > 0. Raises TypeError if not."""
        if not isinstance(self.policy, Explorer):
            raise TypeError(f"this engine does not explore: its policy is {type(self.policy).__name__}.")
        return self.policy

    def esamp_counters(self) -> dict[str, int]:
        """For collective_rpc: what the engine did since it started."""
        return {
            **asdict(self.policy.counters()),
            "decode_rows": self.decode_rows,
            "unfused_steps": self.sampler.unfused_steps,
        }

    def esamp_expect_no_more(self, group: str | None = None) -> None:
        """For collective_rpc, between two steps: the prompt group, or every group, ends with the requests that run. Its Distiller would
        else wait for the siblings that extra_args["esamp_group_size"] promised until another group needs the slot."""
        self.policy.expect_no_more(group)

    def esamp_records(self, tags: list[str]) -> dict[str, dict[str, object]]:
        """For collective_rpc: per-token records of requests that had extra_args["esamp_record"]; they are forgotten here."""
        return {tag: records.to_dict() for tag, records in self.telemetry.pop(tags).items()}


def of_weight_version(request: NewRequest, version: int) -> NewRequest:
    """The request in a group of its prompt and the weights: siblings that other weights drew teach it nothing. Adapters need no part in it:
    engines with LoRA are refused where samples learn from each other."""
    if version == 0:
        return request
    return replace(request, extra_args={**request.extra_args, GROUP_KEY: f"{group_of(request)}@{version}"})
