"""The prompt of a problem, as the engine gets it."""

from transformers import PreTrainedTokenizerBase

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.tree_of_thoughts import with_tree_of_thoughts
from pipelines.problems.problem import Problem


def format_prompt(problem: Problem, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt as the engine gets it: template, then the model's chat template if it has one and both run and task want it.

    The engine's tokenizer puts the beginning-of-text token in front. Chat templates that spell it out would give it twice: then it is
    left out here.
    """
    is_chat = config.chat and config.chosen_task.chat and bool(tokenizer.chat_template)
    text = config.prompt_template(is_chat=is_chat).replace("{problem}", problem.text)
    is_thinking_in_trees = config.sampler == "tree-of-thoughts"
    if not is_chat:
        if is_thinking_in_trees:
            raise InputError(
                f"sampler tree-of-thoughts is a system prompt, and model {config.model} gets no chat template here: it has none, or "
                "--no-chat or the task leaves it out. Use a chat model, or another sampler."
            )
        return text
    messages = [{"role": "user", "content": text}]
    if is_thinking_in_trees:
        messages = with_tree_of_thoughts(messages)
    prompt: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    bos = tokenizer.bos_token_id
    is_doubled = bos is not None and tokenizer(prompt).input_ids[:2] == [bos, bos]
    return prompt.removeprefix(tokenizer.bos_token) if is_doubled else prompt
