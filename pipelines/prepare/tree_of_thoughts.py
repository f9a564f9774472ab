"""Tree of Thoughts as one system prompt: the model is asked to branch, judge and prune within a single answer.

The body of the ESamp paper (arXiv:2604.24927) describes Tree of Thoughts as iterative: candidates are generated, then judged. Its
appendix E.5 shows only a system prompt for self-review. Breadth, depth and how states are scored stay open, so the prompt is what can
be reproduced, and what this module offers; the wording is ours. The search itself (Yao et al., arXiv:2305.10601) is not implemented.
"""

SYSTEM_PROMPT = """\
You solve problems by searching over lines of reasoning before you commit to one.

1. Branch: write down several different ways to begin, side by side, each in a sentence or two.
2. Review: go through the branches one at a time. Check each step for mistakes, and say how likely the branch is to lead to a solution.
3. Prune: drop the branches that are wrong or lead nowhere, and say why. Carry the others forward, branching again where there is a \
choice.
4. Repeat review and pruning until one branch stands up to every check.
5. Summarise that branch in a few lines, then finish with one line of this form and nothing after it:

Final Answer: <your answer>"""
"""Asks for parallel branches, pruning, a summary and a final line, as appendix E.5 does."""


def with_tree_of_thoughts(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """A problem's chat messages ({"role", "content"}) with the system prompt in front. If they begin with a system message, it stays,
    after ours."""
    if messages and messages[0]["role"] == "system":
        own, *rest = messages
        return [{"role": "system", "content": f"{SYSTEM_PROMPT}\n\n{own['content']}"}, *rest]
    return [{"role": "system", "content": SYSTEM_PROMPT}, *messages]
