"""The one module that reads vLLM's private state. It knows vLLM's V1 model runner, and refuses anything else at start-up.

Nothing here is a documented vLLM interface; where a release moves something, this file is what changes, and esamp/engine/surface.py says
what was moved.

Legend: B batch rows, H hidden size, V vocabulary.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import vllm
from torch import Tensor, nn
from vllm.config import CompilationMode
from vllm.model_executor.layers.layernorm import GemmaRMSNorm
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod
from vllm.model_executor.models.interfaces import supports_eagle3
from vllm.platforms import current_platform
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.registry import cached_tokenizer_from_config
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.sample.logits_processor import BUILTIN_LOGITS_PROCESSORS
from vllm.v1.sample.sampler import Sampler

from esamp.batch import BatchRows, BatchStep, CapturedRows, NewRequest, PromptRows
from esamp.draw.backend import fused_draw
from esamp.engine.request_checks import RequestChecks
from esamp.engine.sampler import ESampSampler
from esamp.engine.surface import UnsupportedEngine, check_surface

logger = logging.getLogger(__name__)

KNOWN_VERSIONS = ("0.32.",)
"""Releases this module was run against."""
CHECKED_VERSIONS = ("0.26.", "0.27.", "0.28.", "0.29.", "0.30.", "0.31.", "0.33.")
"""Releases that are tried if they have every name in esamp/engine/surface.py: by API check only, nothing was run there."""


def check_engine(worker: Any) -> None:
    """Raise UnsupportedEngine unless this worker is one whose private state we know. Before its model is loaded, which takes minutes."""
    config = worker.vllm_config
    if not vllm.__version__.startswith(KNOWN_VERSIONS + CHECKED_VERSIONS):
        raise UnsupportedEngine(f"esamp knows vLLM 0.26 to 0.33; this is {vllm.__version__}. Install vllm==0.32.0.")
    if worker.use_v2_model_runner:
        raise UnsupportedEngine(
            "esamp runs on vLLM's V1 model runner; this engine uses V2, the default on CUDA. Set the environment variable "
            "VLLM_USE_V2_MODEL_RUNNER=0 where the engine is started."
        )
    if config.speculative_config is not None:
        raise UnsupportedEngine("esamp does not support speculative decoding; leave speculative_config out.")
    parallel = config.parallel_config
    if parallel.pipeline_parallel_size > 1:
        raise UnsupportedEngine(
            f"esamp does not support pipeline parallelism; got pipeline_parallel_size={parallel.pipeline_parallel_size}. The shallow state "
            "is on the first stage, the deep one on the last. Use tensor parallelism or more shards."
        )
    if parallel.tensor_parallel_size > 1:
        check_tensor_parallelism(parallel.tensor_parallel_size)


def check_no_lora(worker: Any, policy: str) -> None:
    """Raise UnsupportedEngine if the engine has LoRA: see PolicyConfig.supports_lora."""
    if worker.vllm_config.lora_config is not None:
        raise UnsupportedEngine(
            f"policy {policy} does not support LoRA; merge the adapter into the weights, leave enable_lora out, or sample without it "
            "(esamp with beta 0)."
        )


def check_runner(worker: Any) -> None:
    """Raise UnsupportedEngine unless the model runner, whose model is loaded, has every name that is relied on."""
    check_surface(worker.model_runner)
    if not vllm.__version__.startswith(KNOWN_VERSIONS):
        logger.warning(
            "esamp was run on vLLM %s only; %s has every name it needs, and is untested",
            ", ".join(v + "x" for v in KNOWN_VERSIONS),
            vllm.__version__,
        )


def check_tensor_parallelism(size: int) -> None:
    """Raise UnsupportedEngine on a CPU; elsewhere warn that it is untested.

    Every rank has the same Distillers: hidden states are the same on all of them after the layers' all-reduce, initial weights come from a
    CPU generator of one seed, and each trains on every row in the same order, one step behind (trainer "local" or "sync"). The head gathers
    its vocabulary over ranks in compute_logits; candidates are not projected alone, since each rank holds a part of the head's rows.
    """
    if current_platform.is_cpu():
        raise UnsupportedEngine(
            f"esamp supports tensor parallelism on CUDA only; got tensor_parallel_size={size} on a CPU, where ranks share no device "
            "generator and would draw different tokens. Use more shards instead."
        )
    logger.warning("esamp: tensor parallelism (%d ranks) is untested: no machine with two GPUs was at hand", size)


def enable_source_layer(worker: Any, source_layer: int) -> None:
    """Make the model return the residual stream after `source_layer` decoder layers with every forward pass.

    Call after the weights are loaded and before profiling, compilation and graph capture, which then honour it.
    """
    model = worker.model_runner.get_model()
    name = type(model).__name__
    if not supports_eagle3(model):
        raise UnsupportedEngine(
            f"{name} has no auxiliary hidden states in vLLM {vllm.__version__} (the SupportsEagle3 interface), which esamp reads; "
            "use a model that has them (Llama, Qwen2, Qwen3, GPT-OSS, ...) or sampler=vanilla."
        )
    if source_layer >= num_layers(worker):
        raise UnsupportedEngine(
            f"source_layer must be below the model's {num_layers(worker)} layers; got {source_layer}."
        )
    if getattr(model, "logits_processor", None) is not None and model.logits_processor.soft_cap is not None:
        raise UnsupportedEngine(f"{name} soft-caps its logits; esamp was not tested there. Use sampler=vanilla.")
    model.set_aux_hidden_state_layers((source_layer,))
    worker.model_runner.use_aux_hidden_state_outputs = True


def check_head(worker: Any) -> None:
    """Raise UnsupportedEngine if lm_head is quantised: how it rounds predictions is untested."""
    head = getattr(worker.model_runner.get_model(), "lm_head", None)
    if isinstance(head, ParallelLMHead) and type(head.quant_method) is not UnquantizedEmbeddingMethod:
        raise UnsupportedEngine(
            f"lm_head is quantised ({type(head.quant_method).__name__}); esamp was not tested there. Use a checkpoint whose lm_head "
            "is not quantised, or sampler=vanilla."
        )


def final_norm_weights(worker: Any) -> Tensor:
    """Scale [H] of the norm in front of lm_head."""
    model = worker.model_runner.get_model()
    text_model = getattr(model, "language_model", model)
    norm = getattr(getattr(text_model, "model", None), "norm", None)
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        raise UnsupportedEngine(
            f"{type(model).__name__} has no final norm at model.norm, where esamp takes the Distiller's output scale from."
        )
    # Gemma stores the scale's distance from 1.
    return 1.0 + weight.detach() if isinstance(norm, GemmaRMSNorm) else weight.detach()


def token_texts(worker: Any) -> list[str]:
    """[V] text of each token of the vocabulary, padding included. Raises ValueError if the engine was started without a tokenizer."""
    config = worker.model_config
    if config.skip_tokenizer_init:
        raise ValueError(
            "this policy reads the text of tokens; start the engine with its tokenizer (skip_tokenizer_init=False)."
        )
    tokenizer = cached_tokenizer_from_config(config)
    vocab_size, _ = logits_shape(worker)
    known = [tokenizer.decode([token]) for token in range(min(len(tokenizer), vocab_size))]
    return known + [""] * (vocab_size - len(known))


def has_custom_logits_processors(worker: Any) -> bool:
    """True if the engine was given logits processors besides vLLM's own, which may do anything to the logits. Ours does nothing."""
    processors = worker.model_runner.input_batch.logitsprocs.all
    return any(type(processor) not in (*BUILTIN_LOGITS_PROCESSORS, RequestChecks) for processor in processors)


def install_sampler(worker: Any) -> ESampSampler:
    """Put our sampler in the place of vLLM's, with the same settings."""
    stock = worker.model_runner.sampler
    if type(stock) is not Sampler:
        raise UnsupportedEngine(f"esamp replaces vLLM's own V1 sampler; this engine has {type(stock).__qualname__}.")
    sampler = ESampSampler(stock, fused_draw(worker.device))
    worker.model_runner.sampler = sampler
    return sampler


def watch_weights(worker: Any, on_write: Callable[[], None]) -> None:
    """Have `on_write` called whenever weights are written through the model's own load_weights. Call after the weights are loaded.

    Trainers that live in the engine's process write them there, not by vLLM's reload_weights, which takes files: TRL colocate and OpenRLHF
    once for each parameter, verl once for each bucket. None of them says which call is the last.
    """
    model = worker.model_runner.get_model()
    load_weights = model.load_weights

    @wraps(load_weights)
    def watched(*args: Any, **kwargs: Any) -> Any:
        on_write()
        return load_weights(*args, **kwargs)

    model.load_weights = watched


def pack_tied_head(worker: Any) -> None:
    """Have lm_head compute with the weights that it has now, where it is tied to the embedding. Call when weights were changed.

    A CPU engine computes logits from a packed copy of the head's weights. vLLM packs anew what a checkpoint has weights of; a tied head has
    none of its own there, so that vLLM 0.32 went on with the copy of the start ("ParallelLMHead: Failed to load weights").
    """
    head = getattr(worker.model_runner.get_model(), "lm_head", None)
    is_tied = bool(getattr(worker.model_config.hf_text_config, "tie_word_embeddings", False))
    if current_platform.is_cpu() and is_tied and isinstance(head, ParallelLMHead):
        head.quant_method.process_weights_after_loading(head)


def new_requests(scheduled: SchedulerOutput) -> list[NewRequest]:
    """Requests that run for the first time in the coming step."""
    return [
        NewRequest(
            request_id=request.req_id,
            prompt_token_ids=tuple(request.prompt_token_ids or ()),
            temperature=request.sampling_params.temperature,
            top_k=request.sampling_params.top_k,
            is_unfiltered=is_unfiltered(request.sampling_params),
            extra_args=request.sampling_params.extra_args or {},
            stop_token_ids=stop_token_ids(request.sampling_params),
        )
        for request in scheduled.scheduled_new_reqs
        if isinstance(request.sampling_params, SamplingParams)
    ]


def stop_token_ids(params: SamplingParams) -> frozenset[int]:
    """Tokens that end a sample. vLLM has the end of text among `all_stop_token_ids` even where it is ignored, for min_tokens."""
    own = params.stop_token_ids or ()
    return frozenset(own) if params.ignore_eos else frozenset(own) | params.all_stop_token_ids


def schedules_ahead(worker: Any) -> bool:
    """True if a step may start before the tokens of the one before are read (asynchronous scheduling)."""
    return bool(worker.vllm_config.scheduler_config.async_scheduling)


def is_unfiltered(params: SamplingParams) -> bool:
    """True if masks alone stand between the logits and the draw, and the request does not report logits."""
    return (
        params.top_k in (0, -1)
        and params.top_p == 1
        and params.min_p == 0
        and params.presence_penalty == params.frequency_penalty == 0
        and params.repetition_penalty == 1
        and not params.logit_bias
        and params.logprobs is None
        and params.logprob_token_ids is None
    )


def read_rows(worker: Any) -> BatchRows:
    """The rows of the step that runs, once the runner has prepared its inputs."""
    runner = worker.model_runner
    batch = runner.input_batch
    num_rows = batch.num_reqs
    draws_token = ~runner.discard_request_mask.np[:num_rows]
    # A row decodes if the token it ends on lies past the prompt; so does a preempted request that was read again.
    num_tokens = runner.optimistic_seq_lens_cpu[:num_rows].numpy()
    is_decode = draws_token & (num_tokens > batch.num_prompt_tokens[:num_rows])
    return BatchRows(
        request_ids=tuple(batch.req_ids[:num_rows]),
        is_decode=tuple(is_decode.tolist()),
        draws_token=tuple(draws_token.tolist()),
        num_tokens=tuple(num_tokens.tolist()),
    )


@contextmanager
def unread_prompts_unseeded(worker: Any) -> Iterator[None]:
    """For the runner's sample_tokens on a CPU: rows whose prompt is only partly read have no generator of their own.

    vLLM draws a token for such rows, throws it away and rewinds their generators, which CPU generators do not support. What is drawn for
    them does not matter; that their seeds are not spent does.
    """
    runner = worker.model_runner
    unread_rows = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
    generators = runner.input_batch.generators
    hidden = {row: generators.pop(row) for row in unread_rows if row in generators}
    try:
        yield
    finally:
        generators.update(hidden)


def last_tokens(worker: Any, num_rows: int) -> Tensor:
    """[B] place of each row's last token among the tokens of the forward pass."""
    index_B: Tensor = worker.model_runner.query_start_loc.gpu[1 : num_rows + 1].long() - 1
    return index_B


def read_step(worker: Any, captured: CapturedRows | None = None) -> BatchStep | None:
    """The step that waits for its tokens; None if the engine ran nothing. What was `captured` of it is not read again."""
    state = worker.model_runner.execute_model_state
    # execute_model may run nothing (no tokens scheduled); then no state waits for sample_tokens.
    if state is None or state.logits is None:
        return None
    target_BH = state.sample_hidden_states
    rows = read_rows(worker) if captured is None else captured.rows
    if captured is not None:
        source_BH = captured.source_BH
    elif state.aux_hidden_states:
        source_BH = state.aux_hidden_states[0][last_tokens(worker, len(rows.request_ids))]
    else:
        source_BH = target_BH.new_empty(0)
    return BatchStep(
        rows.request_ids, rows.is_decode, rows.draws_token, rows.num_tokens, source_BH=source_BH, target_BH=target_BH
    )


def read_prompts(worker: Any, rows: BatchRows) -> list[PromptRows]:
    """The prompt tokens of the step that waits for its tokens, by request. Needs `enable_source_layer`."""
    runner = worker.model_runner
    state = runner.execute_model_state
    ends = runner.query_start_loc.np[: len(rows.request_ids) + 1].tolist()
    prompts = []
    for row, request_id in enumerate(rows.request_ids):
        num_scheduled = ends[row + 1] - ends[row]
        first = rows.num_tokens[row] - num_scheduled
        num_read = min(num_scheduled, int(runner.input_batch.num_prompt_tokens[row]) - first)
        if num_read > 0:
            read = slice(ends[row], ends[row] + num_read)
            # Copies: they are learned from while the next forward pass may write to the engine's own buffers.
            source_PH, target_PH = state.aux_hidden_states[0][read].clone(), state.hidden_states[read].clone()
            prompts.append(PromptRows(request_id, first, source_PH, target_PH))
    return prompts


LAYER_INPUTS = ["positions", "hidden_states", "residual"]
"""What the decoder layers of Llama, Qwen2, Qwen3 and others like them take."""


class SourceHook:
    """A forward hook that captures the shallow state in the middle of the forward pass, as the next layer takes it.

    It works where Python runs the layers one after the other. A compiled model or a CUDA graph runs no hooks; there the same rows come
    with the outputs of the pass.
    """

    def __init__(self, worker: Any, source_layer: int, callback: Callable[[CapturedRows], None]) -> None:
        """`callback` is called once in each forward pass that runs inside `capturing`."""
        self._worker, self._callback = worker, callback
        self._is_capturing = False
        self.captured: CapturedRows | None = None
        """Of the latest step, until the next one starts."""
        worker.model_runner.get_model().model.layers[source_layer].register_forward_pre_hook(self._source_hook)

    @staticmethod
    def can_capture(worker: Any, source_layer: int) -> bool:
        """True if this engine's layers run their hooks."""
        layers = getattr(getattr(worker.model_runner.get_model(), "model", None), "layers", None)
        return (
            worker.vllm_config.compilation_config.mode == CompilationMode.NONE
            and layers is not None
            and list(inspect.signature(layers[source_layer].forward).parameters)[:3] == LAYER_INPUTS
        )

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """For the runner's execute_model; its dummy runs are not captured."""
        self._is_capturing, self.captured = True, None
        try:
            yield
        finally:
            self._is_capturing = False

    def _source_hook(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Layers that are called with keywords give a pre-hook no inputs: the rows then come with the outputs of the pass.
        if self._is_capturing and len(inputs) >= len(LAYER_INPUTS):
            rows = read_rows(self._worker)
            index_B = last_tokens(self._worker, len(rows.request_ids))
            # vLLM's layers pass the residual stream on in two parts, which the next layer's fused norm adds up.
            _, hidden_TH, residual_TH = inputs[: len(LAYER_INPUTS)]
            self.captured = CapturedRows(rows, hidden_TH[index_B] + residual_TH[index_B])
            self._callback(self.captured)


class DeferredHead:
    """lm_head, run by us between forward pass and sampling, so that hidden states can be fused before it.

    While `deferring`, the runner's own call of `compute_logits` returns an empty placeholder; `set_logits` puts the real ones in its
    place before the runner samples from them. The same projection, a moment later: nothing is computed twice.
    """

    def __init__(self, worker: Any) -> None:
        self._runner = worker.model_runner
        model = self._runner.get_model()
        self._compute_logits = model.compute_logits
        self._is_deferring = False
        model.compute_logits = self._compute_or_defer

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """For the runner's execute_model."""
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False

    def project(self, hidden_RH: Tensor) -> Tensor:
        """Logits [R, V] of hidden states [R, H] through the model's own head, scale and padding included."""
        logits_RV: Tensor = self._compute_logits(hidden_RH.to(self._runner.dtype))
        return logits_RV

    def set_logits(self, logits_BV: Tensor) -> None:
        """Replace the logits that the runner samples from in this step."""
        self._runner.execute_model_state = self._runner.execute_model_state._replace(logits=logits_BV)

    def _compute_or_defer(self, hidden_RH: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._is_deferring:
            # Width 0 costs nothing; the runner only stores it until `set_logits`.
            return hidden_RH.new_empty(hidden_RH.shape[0], 0)
        logits_RV: Tensor = self._compute_logits(hidden_RH, *args, **kwargs)
        return logits_RV


def plain_head_weight(worker: Any) -> Tensor | None:
    """Weights [V, H] of lm_head if logits are exactly hidden @ weight.T, row by row; None if the head does more than that. Without the
    rows that vLLM pads the vocabulary with."""
    model = worker.model_runner.get_model()
    head = getattr(model, "lm_head", None)
    processor = getattr(model, "logits_processor", None)
    if not isinstance(head, ParallelLMHead) or processor is None:
        return None
    is_plain = (
        type(head.quant_method) is UnquantizedEmbeddingMethod
        and head.bias is None
        and processor.scale == 1.0
        and worker.vllm_config.lora_config is None
        and worker.vllm_config.parallel_config.tensor_parallel_size == 1
    )
    return head.weight.detach()[: processor.org_vocab_size] if is_plain else None


def plain_logits(worker: Any) -> Tensor:
    """The model's logits [B, V] of the step that waits for its tokens. vLLM changes them in place when it samples."""
    logits_BV: Tensor = worker.model_runner.execute_model_state.logits
    return logits_BV


def num_layers(worker: Any) -> int:
    """Decoder layers of the model."""
    layers: int = worker.model_config.hf_text_config.num_hidden_layers
    return layers


def logits_shape(worker: Any) -> tuple[int, int]:
    """(V, H): width of the logits, and of the hidden states they are projected from."""
    return worker.model_config.get_vocab_size(), worker.model_config.get_hidden_size()


def tokenizer_name(worker: Any) -> str | None:
    """Folder or hub id of the engine's tokenizer; None if it runs without one."""
    config = worker.model_config
    return None if config.skip_tokenizer_init else config.tokenizer
