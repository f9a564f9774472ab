"""vLLM workers with Exploratory Sampling: the front door for users of plain vLLM, no Ray needed.

    from vllm import LLM, SamplingParams

    llm = LLM(
        "Qwen/Qwen2.5-7B-Instruct",
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"esamp": {"beta": 0.25}},
    )
    outputs = llm.generate(prompts, SamplingParams(n=16, temperature=1.0, max_tokens=1024))
    print(llm.collective_rpc("esamp_counters"))

Requests with the same prompt share a Distiller; `SamplingParams(extra_args={"esamp_group": "my-problem"})` names the group instead, and
`extra_args={"esamp_beta": 0.0}` leaves a request vanilla. On CUDA set VLLM_USE_V2_MODEL_RUNNER=0.
"""

from typing import Any

from vllm.platforms import current_platform
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.worker.gpu_worker import Worker

from esamp import vllm_adapter
from esamp.config import ESampConfig
from esamp.explorer import Explorer
from esamp.learner import Learner

if current_platform.is_cpu():
    from vllm.v1.worker.cpu_worker import CPUWorker

    PlatformWorker: type[Worker] = CPUWorker
else:
    PlatformWorker = Worker


class ESampWorker(PlatformWorker):
    """vLLM's worker for this platform, with an Explorer between its forward pass and its sampling."""

    explorer: Explorer

    def load_model(self, *, load_dummy_weights: bool = False) -> None:
        """Load the model, then attach the Explorer; raises UnsupportedEngine, or ValueError on a bad setting."""
        settings = self.vllm_config.additional_config
        config = ESampConfig.from_dict(settings.get("esamp", {}) if isinstance(settings, dict) else {})
        super().load_model(load_dummy_weights=load_dummy_weights)
        self.explorer = Explorer(config, self)

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """Follow the requests, then run the forward pass."""
        self.explorer.follow(scheduler_output.finished_req_ids, vllm_adapter.new_requests(scheduler_output))
        return super().execute_model(scheduler_output)

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Predict, sample, learn."""
        step = vllm_adapter.read_step(self)
        if step is None:
            return super().sample_tokens(grammar_output)
        self.explorer.before_sampling(step)
        output = super().sample_tokens(grammar_output)
        self.explorer.after_sampling()
        return output

    def esamp_counters(self) -> dict[str, int]:
        """For collective_rpc: what the engine did since it started."""
        return self.explorer.read_counters()

    def esamp_records(self, tags: list[str]) -> dict[str, dict[str, object]]:
        """For collective_rpc: per-token records of requests that had extra_args["esamp_record"]; they are forgotten here."""
        return {tag: records.to_dict() for tag, records in self.explorer.telemetry.pop(tags).items()}

    def esamp_use_learner(self, learner: Learner) -> None:
        """For an in-process engine whose Distillers learn in another process."""
        self.explorer.use_learner(learner)
