"""Each shape of a reply, by the program that is found in it and by the rule."""

import pytest

from pipelines.verifiers.code_extraction import extract_program
from pipelines.verifiers.reply_segments import clean, segments
from pipelines.verifiers.reply_shapes import (
    BareText,
    BodyFirst,
    BodyInBlock,
    CompleteDefinition,
    CutOffDefinition,
    WholeProgram,
)

PROMPT = 'from typing import List\n\n\ndef f(xs: List[int]) -> int:\n    """The sum."""\n'
BODY = "    total = 0\n    for x in xs:\n        total += x\n    return total\n"
FUNCTION = "def f(xs):\n" + BODY


def value(text: str, *, prompt: str = PROMPT) -> object:
    """What f([1, 2]) is, for the program found in the text: behind its prompt, as the tests would run it."""
    namespace: dict[str, object] = {"__name__": "program"}
    exec(prompt + extract_program(text, ("f",), prompt).program, namespace)
    function = namespace["f"]
    assert callable(function)
    return function([1, 2])


FORMS = {
    "a fence": f"```python\n{FUNCTION}```",
    "prose around it": f"Sure, it's easy:\n```python\n{FUNCTION}```\nIt doesn't take long.",
    "the language on the next line": f"```\npython\n{FUNCTION}```",
    "the language in braces": f"```\n{{python\n{FUNCTION}```",
    "attributes of the fence": f"```{{.python .numberLines}}\n{FUNCTION}```",
    "two opening fences": f"```\n```python\n{FUNCTION}```",
    "an empty first block": f"```\n```\n{FUNCTION}```",
    "an empty first block, the language next": f"```\n```\npython\n{FUNCTION}```\nDone.",
    "a fence of Markdown around it": f"```markdown\n```python\n{FUNCTION}```\n```",
    "a heading inside a block": f"```\n#### A script\n```python\n{FUNCTION}```",
    "tildes": f"~~~python\n{FUNCTION}~~~",
    "four backticks around three": f"````markdown\n```python\n{FUNCTION}```\n````",
    "a closing fence only": f"{FUNCTION}```",
    "a closing fence with prose after it": f"{FUNCTION}```\nThis works because it adds. Don't worry.",
    "a closing fence on the last line": f"```python\n{FUNCTION.rstrip()}```",
    "no closing fence": f"```python\n{FUNCTION}",
    "an opening fence behind prose": f"Here it is: ```python\n{FUNCTION}```",
    "a list item": "1. First:\n\n   ```python\n" + "".join(f"   {line}\n" for line in FUNCTION.splitlines()) + "   ```",
    "no fence": FUNCTION,
    "prose and no fence": f"Let's write it.\n\n{FUNCTION}\nThat's all.",
    "carriage returns": f"```python\n{FUNCTION}```".replace("\n", "\r\n"),
    "a byte-order mark": f"\ufeff```python\n{FUNCTION}```",
    "non-breaking spaces": f"```python\n{FUNCTION}```".replace("    ", "\u00a0\u00a0 \u00a0"),
    "tags": f"<code>\n{FUNCTION}</code>",
    "square tags": f"[PYTHON]\n{FUNCTION}[/PYTHON]",
    "an answer tag around a fence": f"<answer>\n```python\n{FUNCTION}```\n</answer>",
    "the end of the turn": f"```python\n{FUNCTION.rstrip()}<|im_end|>\n<|im_start|>user\nThanks",
    "a thought first": f"<think>\n```python\ndef f(xs): return 7\n```\nNo.</think>\n```python\n{FUNCTION}```",
    "a wrong version after it": f"```python\n{FUNCTION}```\nA wrong version would be\n```python\ndef f(xs): return 7\n```",
    "the prompt first": f"```python\n{PROMPT}```\nSolved:\n```python\n{FUNCTION}```",
    "a use first": f"```python\nprint(f([1]))\n```\nwith\n```python\n{FUNCTION}```",
    "a fence in the docstring": f'```python\ndef f(xs):\n    """Adds.\n\n    ```\n    f([1])\n    ```\n    """\n{BODY}```',
    "a fence in a string": f"```python\ndef f(xs):\n    fence = '''\n```\n'''\n{BODY}```",
    "quotes that do not pair": f'Use """ here.\n```python\n{FUNCTION}```',
    "a fence in the middle of a call": f"```python\n{FUNCTION}\nprint(f([1,\n```\n 2]))",
    "another function, cut off": f"```python\n{FUNCTION}\n\ndef test_f():\n    assert f([1",
    "an example that fails": f"```python\n{FUNCTION}\nassert f([1]) == 2\n```",
    "a test that fails, run by a function": f"```python\n{FUNCTION}\ndef check():\n    assert f([1]) == 2\n\ncheck()\n```",
    "a main that reads arguments": f"```python\nimport sys\n{FUNCTION}\nresult = f(sys.argv[9])\n```",
    "an import for examples only": f"```python\nimport no_such_package\n{FUNCTION}\nno_such_package.show(f([1]))\n```",
    "the function's local names at the top level": f"```python\n{FUNCTION}\ntotal = f(input())\n```",
    "a helper in another block": "```python\nfrom helpers import add\n\ndef f(xs):\n    return plus(*xs)\n```\n"
    "where\n```python\ndef plus(a, b):\n    return a + b\n```",
    "a table that a loop fills": "```python\ntable = {}\nfor n in range(3):\n    table[n] = n\n\ndef f(xs):\n"
    "    return table[xs[0]] + table[2]\nprint(table)\n```",
    "a lambda": "```python\nf = lambda xs: sum(xs)\n```",
    "a decorator": "```python\nimport functools\n\n@functools.wraps(sum)\ndef f(xs):\n    return sum(xs)\n```",
    "hints that need the prompt's imports": "```python\ndef f(xs: List[int]) -> int:\n    return sum(xs)\n```",
    "the future, imported late": "```python\nfrom __future__ import annotations\ndef f(xs: No) -> Such: return sum(xs)\n```",
    "two statements on a line": "```python\nimport math; offset = 0\ndef f(xs): return sum(xs) + offset\n```",
    "the body": BODY,
    "the body in a fence": f"```python\n{BODY}```",
    "the body without its margin": "```python\nreturn sum(xs)\n```",
    "the body, its first line without margin": BODY.lstrip(),
    "the body and another function, cut off": f"{BODY}\n\ndef g(xs):\n    return max(x for",
    "the body and prose": f"{BODY}\nThis adds the numbers, as it's told.",
    "the body and a closing fence": f"{BODY}```\nDone.",
    "the body, then the function again": f"{BODY}\n\ndef f(xs):\n    return 7\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_program_is_found_as_a_reader_would_find_it(form: str) -> None:
    prompt = "from __future__ import annotations\n" + PROMPT if form == "the future, imported late" else PROMPT
    if form == "the future, imported late":
        assert "def f" in extract_program(FORMS[form], ("f",), prompt).program
        return
    assert value(FORMS[form]) == 3


@pytest.mark.parametrize(
    "form", [form for form in FORMS if "body" not in form and "hints" not in form and "future" not in form]
)
def test_a_program_that_continues_no_prompt_is_found_too(form: str) -> None:
    assert value(FORMS[form], prompt="") == 3


RULES = {
    BodyFirst.rule: BODY,
    CompleteDefinition.rule: f"Sure.\n```python\n{FUNCTION}```",
    CutOffDefinition.rule: "```python\ndef f(xs):\n    return sum(xs)\n    print((",
    BodyInBlock.rule: f"The body:\n```python\n{BODY}```",
    WholeProgram.rule: "```python\ndef another(xs): return 1\n```",
    BareText.rule: "I would add them up.",
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_says_how_the_program_was_found(rule: str) -> None:
    assert extract_program(RULES[rule], ("f",), PROMPT).rule == rule


def test_a_script_is_the_last_block_that_is_python() -> None:
    text = "```python\nprint(1)\n```\nbetter\n```python\nprint(int(input()))\n```\nIt prints\n```\n42\n```\n```bash\npython f.py\n```"
    assert extract_program(text, ()).program == "\nprint(int(input()))\n"


def test_a_script_without_a_block_loses_the_prose_around_it() -> None:
    text = "Here's how:\n\nn = int(input())\nprint(n)\n\nIt's done."
    assert extract_program(text, ()).program.split() == [
        "n",
        "=",
        "int(input())",
        "print(n)",
    ]


def test_what_needs_a_name_keeps_the_settings_of_modules() -> None:
    text = "import sys\nsys.setrecursionlimit(9999)\ndef f(xs): return 1\nprint(f([]))\n"
    assert extract_program(text, ("f",)).program.splitlines() == text.splitlines()[:3]


def test_the_function_that_other_code_builds_by_name_keeps_all_of_it() -> None:
    text = "g = 3\ndef f(xs): return eval('g')\nf([1])\n"
    assert extract_program(text, ("f",)).program.splitlines() == text.splitlines()[:2]


def test_an_empty_reply_holds_no_program() -> None:
    assert extract_program("", ("f",), PROMPT).program == ""
    assert extract_program("```python\n```", ("f",), PROMPT).program == ""


def test_an_end_of_turn_token_in_a_string_is_text() -> None:
    assert clean("token = '<|im_end|>'\nx = 1<|im_end|>junk") == "token = '<|im_end|>'\nx = 1"


def test_segments_know_their_language() -> None:
    found = segments("a\n```Python 3\nb\n```\n\n```bash\nc\n```", minds_strings=True)
    assert [(segment.source.strip(), segment.language, segment.may_be_python) for segment in found] == [
        ("a", "", True),
        ("b", "python", True),
        ("c", "bash", False),
    ]


def test_a_model_that_repeats_itself_gets_its_verdict_in_seconds() -> None:
    text = "```\nThis is (not code.\n" * 20_000
    assert extract_program(text, ("f",), PROMPT).rule in (WholeProgram.rule, BareText.rule)
