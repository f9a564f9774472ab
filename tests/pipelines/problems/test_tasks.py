"""Tasks: every one is well formed, rows become the problems and prompts they should, and a run takes what its task says."""

import base64
import json
import os
import pickle
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipelines.tasks
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.dataset_rows import hub_rows
from pipelines.problems.problem import Problem
from pipelines.problems.task import Columns, HubSource, Task, TaskOptions
from pipelines.tasks import all_tasks, find_task
from pipelines.tasks.livecodebench import private_tests
from pipelines.verifiers.registry import VERIFIERS
from pipelines.verifiers.scorer import start_scorer
from pipelines.verifiers.settings import verifier_settings
from tests.conftest import SHARED
from tests.pipelines.conftest import write_jsonl

SHIPPED = {
    "aime2024",
    "aime2025",
    "columns",
    "countdown",
    "creative_writing",
    "gpqa_diamond",
    "gsm8k",
    "humaneval",
    "humaneval_plus",
    "livecodebench",
    "math500",
    "mbpp",
    "mbpp_plus",
}


def problems_of(task: str, path: Path, rows: list[dict[str, Any]], **settings: Any) -> list[Problem]:
    return load_problems(RunConfig(task=task, dataset=str(write_jsonl(path / "rows.jsonl", rows)), **settings))


def shared(name: str) -> str:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return str(path)


def test_every_task_is_found_by_its_name() -> None:
    assert set(all_tasks()) >= SHIPPED
    assert all(find_task(name).name == name for name in all_tasks())


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_task_names_a_verifier_and_a_run_of_it_is_a_valid_config(name: str) -> None:
    task = find_task(name)
    assert task.verifier in VERIFIERS
    config = RunConfig(sampler="esamp", task=name, dataset="rows.jsonl")
    assert config.verifier_name == task.verifier
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.run_folder == Path(f"runs/{name}-esamp-0")


def test_a_task_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"no task 'math'; known are aime2024, .*math500"):
        RunConfig(sampler="esamp", task="math")


OWN_TASK = replace(find_task("gsm8k"), name="own")


def test_a_task_of_ones_own_is_named_by_its_path() -> None:
    config = RunConfig(sampler="esamp", task=f"{__name__}:OWN_TASK", seed=2)
    assert config.chosen_task is OWN_TASK
    assert config.run_folder == Path("runs/own-esamp-2")


@pytest.mark.parametrize(
    ("path", "message"), [("no_such_module:TASK", "cannot be imported"), ("json:TASK", "has no Task named 'TASK'")]
)
def test_a_path_without_a_task_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunConfig(sampler="esamp", task=path)


def test_without_a_task_a_dataset_is_read_by_columns_and_nothing_is_countdown() -> None:
    assert (
        RunConfig(sampler="esamp").chosen_task.name
        == RunConfig(sampler="esamp", dataset="countdown").chosen_task.name
        == "countdown"
    )
    assert RunConfig(sampler="esamp", dataset="my.jsonl").chosen_task.name == "columns"
    assert (
        config_hash(RunConfig(sampler="esamp"))
        == config_hash(RunConfig(sampler="esamp", dataset="countdown"))
        == config_hash(RunConfig(sampler="esamp", task="countdown"))
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"task": "gpqa_diamond", "problem_column": "q"},
            "gpqa_diamond reads its own columns; leave problem_column out",
        ),
        ({"task": "math500", "choices_seed": 3}, "math500 has no use for choices_seed=3"),
        ({"task": "gsm8k", "released_from": "2025-01-01"}, "gsm8k has no use for released_from"),
        ({"task": "livecodebench", "released_from": "January"}, "released_from must be a day such as 2025-01-31"),
        ({"task": "math500", "dataset": "countdown"}, "is a task of its own"),
        ({"task": "math500", "verifier": "judge"}, "judge needs --judge-url and --judge-model"),
    ],
)
def test_settings_a_task_has_no_use_for_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunConfig(**settings)


@pytest.mark.parametrize("name", ["columns", "creative_writing"])
def test_a_task_without_a_dataset_of_its_own_asks_for_one(name: str) -> None:
    with pytest.raises(InputError, match="has no dataset of its own; give one with --dataset"):
        load_problems(RunConfig(sampler="esamp", task=name))


def test_another_prompt_of_a_task_makes_another_run() -> None:
    assert config_hash(RunConfig(sampler="esamp", task="math500")) != config_hash(
        RunConfig(sampler="esamp", task="aime2024")
    )
    assert config_hash(RunConfig(sampler="esamp", task="math500")) != config_hash(
        RunConfig(sampler="esamp", task="math500", template="{problem}")
    )


@pytest.mark.parametrize(
    ("task", "file", "count"),
    [
        ("math500", "math500_test.jsonl", 500),
        ("aime2024", "aime2024.jsonl", 30),
        ("gsm8k", "gsm8k_test.jsonl", 1319),
        ("humaneval", "humaneval.jsonl", 164),
        ("mbpp", "mbpp_sanitized.jsonl", 427),
        ("creative_writing", "fairytale_openings.jsonl", 103),
    ],
)
def test_the_real_rows_become_problems(task: str, file: str, count: int) -> None:
    config = RunConfig(sampler="esamp", task=task, dataset=shared(file))
    problems = load_problems(config)
    assert len(problems) == count
    assert all(problem.text and (problem.answer or task == "creative_writing") for problem in problems)
    assert load_problems(replace(config, limit=3)) == problems[:3]


def test_mathematics_is_asked_in_lightevals_words(tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", task="math500")
    prompt = config.prompt_template(is_chat=True)
    assert prompt == config.prompt_template(is_chat=False)
    assert prompt.startswith(
        "Solve the following math problem efficiently and clearly.  The last line of your response"
    )
    assert "'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes)" in prompt
    assert prompt.endswith("Think step by step before answering.\n\n{problem}")
    assert prompt == RunConfig(sampler="esamp", task="aime2025").prompt_template(is_chat=True)


def gpqa_rows(count: int) -> list[dict[str, Any]]:
    wrong = {f"Incorrect Answer {number}": f"wrong {number} " for number in (1, 2, 3)}
    return [
        {"Record ID": f"rec{i}", "Question": f"Which, {i}?\n", "Correct Answer": " right", **wrong}
        for i in range(count)
    ]


def test_gpqa_choices_are_shuffled_by_a_seed_and_the_questions_id(tmp_path: Path) -> None:
    problems = problems_of("gpqa_diamond", tmp_path, gpqa_rows(40))
    assert {problem.answer for problem in problems} == set("ABCD"), "the right one is not always at the same place"
    for problem in problems:
        question, *choices = problem.text.replace("\n\n", "\n").splitlines()
        assert sorted(choice[3:] for choice in choices) == ["right", "wrong 1", "wrong 2", "wrong 3"]
        assert f"{problem.answer}) right" in choices
        assert question.startswith("Which")
    backwards = problems_of("gpqa_diamond", tmp_path, gpqa_rows(40)[::-1])
    assert backwards[::-1] == problems, "the order of rows does not matter"
    assert problems_of("gpqa_diamond", tmp_path, gpqa_rows(40), choices_seed=1) != problems
    assert config_hash(RunConfig(sampler="esamp", task="gpqa_diamond", choices_seed=1)) != config_hash(
        RunConfig(sampler="esamp", task="gpqa_diamond")
    )


def test_a_row_without_its_columns_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"row 0 has no column 'Correct Answer' for task gpqa_diamond; it has Question"
    ):
        problems_of("gpqa_diamond", tmp_path, [{"Question": "?"}])


def test_code_problems_carry_their_tests_in_the_answer(tmp_path: Path) -> None:
    humaneval = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(c): ..."}
    [problem] = problems_of("humaneval_plus", tmp_path, [{**humaneval, "canonical_solution": "    pass"}])
    assert json.loads(problem.answer) == {"entry_point": "f", "prompt": "def f():\n", "test": "def check(c): ..."}

    mbpp = {
        "task_id": 2,
        "prompt": "Add.",
        "test_imports": ["import math"],
        "test_list": ["assert f(1) == 1", "assert 2"],
    }
    [problem] = problems_of("mbpp", tmp_path, [mbpp])
    assert problem == Problem(
        "mbpp/2",
        '"""\nAdd.\nassert f(1) == 1\n"""',
        json.dumps({"test_imports": ["import math"], "test_list": ["assert f(1) == 1", "assert 2"]}),
    )
    [problem] = problems_of("mbpp_plus", tmp_path, [{**mbpp, "test": "for i in inputs: ..."}])
    assert json.loads(problem.answer)["test_list"] == ["for i in inputs: ..."]


def test_a_base_model_goes_on_with_the_function_itself() -> None:
    config = RunConfig(sampler="esamp", task="humaneval")
    assert config.prompt_template(is_chat=False) == "{problem}\n"
    assert "```\n{problem}\n```" in config.prompt_template(is_chat=True)
    assert replace(config, template="# {problem}").prompt_template(is_chat=False) == "# {problem}"


def lcb_row(number: int, day: str, **changes: Any) -> dict[str, Any]:
    public = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
    private = [{"input": "3\n", "output": "4\n", "testtype": "stdin"}]
    encoded = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(private)))).decode()
    return {
        "question_id": f"q{number}",
        "question_content": "Double it.",
        "contest_date": f"{day}T00:00:00",
        "starter_code": "",
        "public_test_cases": json.dumps(public),
        "private_test_cases": encoded,
        "metadata": "{}",
        **changes,
    }


def test_livecodebench_takes_the_window_of_days_before_the_limit(tmp_path: Path) -> None:
    rows = [lcb_row(i, day) for i, day in enumerate(["2024-01-01", "2024-06-01", "2024-06-30", "2024-07-01"])]
    window = {"released_from": "2024-06-01", "released_until": "2024-06-30"}
    assert [p.problem_id for p in problems_of("livecodebench", tmp_path, rows, **window)] == ["q1", "q2"]
    assert [p.problem_id for p in problems_of("livecodebench", tmp_path, rows, **window, limit=1)] == ["q1"]
    assert len(problems_of("livecodebench", tmp_path, rows)) == 4
    with pytest.raises(InputError, match="no rows for task livecodebench"):
        problems_of("livecodebench", tmp_path, rows, released_from="2030-01-01")


def test_livecodebench_tests_are_decoded(tmp_path: Path) -> None:
    functional = lcb_row(1, "2024-01-01", starter_code="class Solution: ...", metadata='{"func_name": "twice"}')
    plain = lcb_row(2, "2024-01-01", private_test_cases="[]")
    stdin, function, public_only = problems_of("livecodebench", tmp_path, [lcb_row(0, "2024-01-01"), functional, plain])
    tests = [{"input": "1\n", "output": "2\n"}, {"input": "3\n", "output": "4\n"}]
    assert json.loads(stdin.answer) == {"stdin_tests": tests}
    assert "Read the inputs from stdin" in stdin.text
    assert json.loads(function.answer) == {"entry_point": "twice", "functional_tests": tests}
    assert "```python\nclass Solution: ...\n```" in function.text
    assert json.loads(public_only.answer) == {"stdin_tests": tests[:1]}


class RunsWhenRead:
    def __reduce__(self) -> Any:
        return os.system, ("echo unpickled",)


def test_a_pickle_that_would_run_code_is_refused() -> None:
    encoded = base64.b64encode(zlib.compress(pickle.dumps(RunsWhenRead()))).decode()
    with pytest.raises(InputError, match=r"the pickle wants posix.system, but only text is accepted"):
        private_tests(encoded)


@pytest.fixture
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` keeps of a dataset stays beside the test's folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path.parent / f"{tmp_path.name}-datasets")


@pytest.mark.usefixtures("datasets_cache")
def test_hub_rows_are_those_of_the_source(tmp_path: Path) -> None:
    """`datasets` reads a local folder, and named files, as it reads a repository."""
    file = write_jsonl(tmp_path / "test.jsonl", [{"question": "1+1?", "answer": "#### 2"}])
    assert list(hub_rows(HubSource(str(tmp_path)))) == [{"question": "1+1?", "answer": "#### 2"}]
    [row] = hub_rows(HubSource("json", split="train", data_files=(str(file),)))
    assert row["answer"] == "#### 2"
    with pytest.raises(InputError, match=r"dataset .* \[nosuch\] is no .jsonl or .parquet file, and cannot be loaded"):
        list(hub_rows(HubSource(str(tmp_path), split="nosuch")))


@pytest.mark.usefixtures("datasets_cache")
def test_a_tasks_source_is_read_unless_the_run_names_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"question": "1+1?", "answer": "#### 2"}])
    write_jsonl(tmp_path / "train.jsonl", [{"question": "2+2?", "answer": "#### 4"}])
    task = replace(find_task("gsm8k"), name="mine", source=HubSource(str(tmp_path)))
    monkeypatch.setitem(all_tasks(), "mine", task)
    assert load_problems(RunConfig(sampler="esamp", task="mine")) == [Problem("0", "1+1?", "#### 2")]
    assert load_problems(RunConfig(sampler="esamp", task="mine", split="train")) == [Problem("0", "2+2?", "#### 4")]


def test_countdown_problems_of_ones_own_are_read_from_a_file(tmp_path: Path) -> None:
    problems = problems_of("countdown", tmp_path, [{"problem": "3 7 19 25=84:", "target": 84}])
    assert problems == [Problem("0", "3 7 19 25=84:", "84")]


def test_the_task_of_the_docs_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/tasks.md, put into a file among the tasks, is found and read without any other change."""
    text = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [row] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 30
    (tmp_path / "docs_example.py").write_text(example)
    monkeypatch.setattr("pipelines.tasks.__path__", [*pipelines.tasks.__path__, str(tmp_path)])
    all_tasks.cache_clear()
    try:
        (tmp_path / "rows.jsonl").write_text(row)
        config = RunConfig(sampler="esamp", task="arithmetic_chains", dataset=str(tmp_path / "rows.jsonl"))
        [problem] = load_problems(config)
        scorer = start_scorer(verifier_settings(config))
        assert problem.problem_id == "chain-1"
        assert problem.answer == "14"
        assert scorer.score(problem, "2 + 3 = 5, 5 + 9 = 14\nAnswer: 14").status == "correct"
    finally:
        all_tasks.cache_clear()


def test_a_prompt_must_hold_the_problem() -> None:
    with pytest.raises(ValueError, match="task t: a prompt must contain"):
        Task(name="t", source=None, rows=Columns(problem=("p",)), verifier="math", prompt="Go", prompt_source="")


def test_options_default_to_those_of_a_run() -> None:
    assert RunConfig(sampler="esamp").task_options == TaskOptions()


def test_rows_of_the_full_mbpp_become_problems_with_their_setup_in_the_tests(tmp_path: Path) -> None:
    row = {
        "task_id": 11,
        "text": "Write a function to sum a tree.",
        "code": "def f(n): return n.v",
        "test_list": ["assert f(root) == 1", "assert f(root) > 0"],
        "test_setup_code": "root = Node(1)",
        "challenge_test_list": ["assert f(root) == 7"],
    }
    [problem, plain] = problems_of("mbpp", tmp_path, [row, {**row, "task_id": 12, "test_setup_code": ""}])
    assert problem.text == '"""\nWrite a function to sum a tree.\nassert f(root) == 1\n"""'
    assert json.loads(problem.answer) == {"test_imports": [], "test_list": ["root = Node(1)", *row["test_list"]]}
    assert json.loads(plain.answer)["test_list"] == row["test_list"]
    with pytest.raises(InputError, match="prompt or text"):
        problems_of("mbpp", tmp_path, [{"task_id": 1, "test_list": ["assert f()"]}])
