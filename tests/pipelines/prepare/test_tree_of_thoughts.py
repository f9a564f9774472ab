"""The system prompt stands in front, once, and nothing else is lost."""

from pipelines.prepare.tree_of_thoughts import SYSTEM_PROMPT, with_tree_of_thoughts

QUESTION = {"role": "user", "content": "1 + 1 ?"}


def test_the_problem_follows_the_system_prompt_unchanged() -> None:
    system, *rest = with_tree_of_thoughts([QUESTION])
    assert system == {"role": "system", "content": SYSTEM_PROMPT}
    assert rest == [QUESTION]


def test_a_system_message_of_the_problem_s_own_is_kept_in_the_one_system_message() -> None:
    """Chat templates take one system message, the first."""
    own = {"role": "system", "content": "Answer in French."}
    messages = [own, QUESTION]
    system, *rest = with_tree_of_thoughts(messages)
    assert system["content"].startswith(SYSTEM_PROMPT) and system["content"].endswith("Answer in French.")
    assert rest == [QUESTION]
    assert messages == [own, QUESTION], "the caller's messages stay as they were"
