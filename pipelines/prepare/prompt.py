"""The prompt of a problem, as the engine gets it."""

from transformers import PreTrainedTokenizerBase

from pipelines.config.run import RunConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.errors import InputError
from pipelines.problems.problem import Problem


def has_chat_prompt(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompts go through the model's chat template: it has one, and both run and task want it."""
    return config.chat and config.chosen_task.chat and bool(tokenizer.chat_template)


def format_prompt(problem: Problem, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt as the engine gets it: the task's template, then the model's chat template where `has_chat_prompt`.

    The engine's tokenizer puts the beginning-of-text token in front. Chat templates that spell it out would give it twice: then it is
    left out here.
    """
    is_chat = has_chat_prompt(config, tokenizer)
    text = config.prompt_template(is_chat=is_chat).replace("{problem}", problem.text)
    sampler = SAMPLERS[config.sampler]
    if not is_chat:
        if sampler.needs_chat:
            raise InputError(
                f"sampler {config.sampler} is a system prompt, and model {config.model} gets no chat template here: it has none, or "
                "--no-chat or the task leaves it out. Use a chat model, or another sampler."
            )
        return text
    messages = sampler.messages([{"role": "user", "content": text}])
    prompt: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    bos = tokenizer.bos_token_id
    is_doubled = bos is not None and tokenizer(prompt).input_ids[:2] == [bos, bos]
    return prompt.removeprefix(tokenizer.bos_token) if is_doubled else prompt
