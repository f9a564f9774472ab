"""The Countdown task: its verifier is exact, its problems are solvable, and training and evaluation never share one."""

import random
import string

import pytest

from pipelines.problems.countdown import (
    NUMBER_RANGE,
    NUMBERS_PER_PROBLEM,
    TARGET_RANGE,
    CountdownProblem,
    CountdownStatus,
    evaluation_problems,
    is_held_out,
    random_example,
    training_examples,
    verify_answer,
)

PROBLEM = CountdownProblem((3, 7, 19, 25), 25 - 19 + 3 * 7)  # 27


@pytest.mark.parametrize(
    "answer",
    [
        "25-19=6,3*7=21,6+21=27",
        "3*7=21,25-19=6,21+6=27",
        "25-19=6,7*3=21,21+6=27",
        " 25-19=6,3*7=21,6+21=27\n",
    ],
)
def test_every_right_chain_is_correct(answer: str) -> None:
    verdict = verify_answer(PROBLEM, answer)
    assert (verdict.status, verdict.extracted, verdict.detail) == (CountdownStatus.CORRECT, "27", "")


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        (CountdownProblem((2, 3, 10, 20), 30), "10+20=30"),  # not every number has to be used
        (CountdownProblem((6, 6, 2, 3), 36), "6*6=36"),  # a number given twice may be used twice
        (CountdownProblem((8, 2, 4, 9), 16), "8/2=4,4*4=16"),  # a result equal to a given number counts besides it
    ],
)
def test_what_is_there_may_be_used_as_often_as_it_is_there(problem: CountdownProblem, answer: str) -> None:
    assert verify_answer(problem, answer).status == CountdownStatus.CORRECT


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("3+3=6", "3+3=6: 3 is used up"),
        ("3*7=21,3+21=24", "3+21=24: 3 is used up"),
        ("25-19=6,6*3=18,6+18=24", "6+18=24: 6 is used up"),
        ("5+7=12", "5+7=12: 5 is neither given nor a result"),
        ("3+7=11", "3+7=11: 3+7 is 10"),
        ("3*7=20", "3*7=20: 3*7 is 21"),
        ("25/3=8", "25/3=8: 25/3 is no positive integer"),
        ("3-7=4", "3-7=4: 3-7 is no positive integer"),
        ("25-19=6,3*7=21", "reached 21, not 27"),
    ],
)
def test_wrong_chains_are_wrong_and_say_why(answer: str, detail: str) -> None:
    verdict = verify_answer(PROBLEM, answer)
    assert (verdict.status, verdict.detail) == (CountdownStatus.WRONG, detail)


def test_a_difference_of_zero_and_a_division_by_zero_are_wrong() -> None:
    problem = CountdownProblem((5, 5, 2, 3), 10)
    assert verify_answer(problem, "5-5=0").status == CountdownStatus.WRONG
    assert verify_answer(problem, "5/0=5").status == CountdownStatus.WRONG


def test_a_right_value_after_a_wrong_step_is_wrong() -> None:
    assert verify_answer(PROBLEM, "25-19=7,3*7=20,7+20=27").status == CountdownStatus.WRONG


@pytest.mark.parametrize("answer", ["", " ", "\n\t"])
def test_an_empty_answer_is_no_answer(answer: str) -> None:
    assert verify_answer(PROBLEM, answer).status == CountdownStatus.NO_ANSWER


@pytest.mark.parametrize(
    "answer",
    [
        "27",
        "the answer is 27",
        "25-19=6,",
        ",25-19=6",
        "25-19=6,3*7=21,6+21",
        "25 - 19 = 6",
        "-3+7=4",
        "3**7=2187",
        "3.0+7=10",
        "3+7=1e1",
        "٣+٧=١٠",
        "9" * 10_000 + "+1=2",
        "3" + "+7=10," * 10_000,
        "\x00\ud800",
    ],
)
def test_what_is_no_chain_of_steps_is_a_parse_error(answer: str) -> None:
    verdict = verify_answer(PROBLEM, answer)
    assert verdict.status == CountdownStatus.PARSE_ERROR
    assert len(verdict.detail) < 200


def test_the_verifier_never_raises() -> None:
    rng = random.Random(0)
    near = "0123456789+-*/=, :" + "3725,=" * 3
    for alphabet in (near, string.printable, "".join(map(chr, range(0x600)))):
        for _ in range(3000):
            text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(40)))
            assert verify_answer(PROBLEM, text).status in set(CountdownStatus)


def test_every_random_solution_is_correct() -> None:
    for problem, solution in training_examples(3, 2000):
        assert verify_answer(problem, solution).status == CountdownStatus.CORRECT, (problem, solution)


def test_the_verifier_agrees_with_the_rules_said_another_way() -> None:
    """On solutions with one character changed: some stay right, most do not."""
    rng = random.Random(1)
    for problem, solution in training_examples(4, 500):
        position = rng.randrange(len(solution))
        changed = solution[:position] + rng.choice("0123456789+-*/=,") + solution[position + 1 :]
        assert (verify_answer(problem, changed).status == CountdownStatus.CORRECT) == is_right(problem, changed)


def is_right(problem: CountdownProblem, answer: str) -> bool:
    """A slow reference: Python's own arithmetic, and numbers struck off a list."""
    unused, value = list(problem.numbers), None
    for step in answer.split(","):
        left, equals, right = step.partition("=")
        for operator in "+-*/":
            a, found, b = left.partition(operator)
            if found and a.isdigit() and b.isdigit() and equals and right.isdigit():
                break
        else:
            return False
        for operand in (int(a), int(b)):
            if operand not in unused:
                return False
            unused.remove(operand)
        value = int(right)
        if value < 1 or eval(f"{int(a)}{operator}{int(b)}") != value:
            return False
        unused.append(value)
    return value == problem.target


def test_problems_keep_to_their_ranges() -> None:
    rng = random.Random(5)
    for _ in range(500):
        problem, solution = random_example(rng)
        assert len(problem.numbers) == NUMBERS_PER_PROBLEM
        assert all(NUMBER_RANGE[0] <= number <= NUMBER_RANGE[1] for number in problem.numbers)
        assert TARGET_RANGE[0] <= problem.target <= TARGET_RANGE[1]
        assert problem.target not in problem.numbers
        assert 2 <= len(solution.split(",")) <= 3


def test_random_solutions_differ() -> None:
    rng = random.Random(6)
    examples = [random_example(rng) for _ in range(1000)]
    assert len({solution for _, solution in examples}) > 990
    assert {operator for _, solution in examples for operator in solution if operator in "+-*/"} == set("+-*/")


def test_training_and_evaluation_never_share_a_problem() -> None:
    trained = {problem.problem_id for problem, _ in training_examples(0, 5000)}
    evaluated = evaluation_problems(500)
    assert all(is_held_out(problem) for problem in evaluated)
    assert not any(is_held_out(problem) for problem, _ in training_examples(1, 5000))
    assert not trained & {problem.problem_id for problem in evaluated}


def test_the_split_looks_past_the_order_of_the_numbers() -> None:
    rng = random.Random(7)
    for problem in evaluation_problems(200):
        numbers = list(problem.numbers)
        rng.shuffle(numbers)
        assert is_held_out(CountdownProblem(tuple(numbers), problem.target))


def test_one_problem_in_ten_is_held_out() -> None:
    rng = random.Random(8)
    share = sum(is_held_out(random_example(rng)[0]) for _ in range(5000)) / 5000
    assert 0.08 < share < 0.12


def test_evaluation_problems_are_unique_and_the_same_every_time() -> None:
    problems = evaluation_problems(300)
    assert len({problem.problem_id for problem in problems}) == 300
    assert problems == evaluation_problems(300)
    assert problems[:50] == evaluation_problems(50)
    assert problems != evaluation_problems(300, seed=1)


def test_the_first_problems_stay_what_they_are() -> None:
    """The shipped model's numbers, and runs people keep, are of these problems: a change of the sampler or the split shows here."""
    first = [problem.prompt for problem in evaluation_problems(3)]
    assert first == ["2 17 4 15=53:", "22 12 22 11=23:", "23 4 12 24=18:"]
    trained = [(problem.prompt, solution) for problem, solution in training_examples(0, 2)]
    assert trained == [("20 20 3 1=23:", "20+3=23,1*23=23"), ("10 23 6 24=70:", "24+6=30,30-23=7,10*7=70")]


def test_training_examples_are_a_function_of_their_seed() -> None:
    assert training_examples(9, 20) == training_examples(9, 20)
    assert training_examples(9, 20) != training_examples(10, 20)


def test_a_problem_comes_back_from_its_prompt() -> None:
    for problem in evaluation_problems(100):
        assert CountdownProblem.from_prompt(problem.prompt) == problem


@pytest.mark.parametrize(
    "prompt", ["", "3 7=84", "3 7:84", "7=84:", "3 7 =84:", "a b=c:", "3 7=84:\n", "9" * 5000 + " 1=2:"]
)
def test_what_is_no_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match='a Countdown prompt reads "3 7 19 25=84:"'):
        CountdownProblem.from_prompt(prompt)


@pytest.mark.parametrize(("numbers", "target"), [((3, 0), 5), ((3, -1), 5), ((3, 4), 0)])
def test_problems_are_of_positive_integers(numbers: tuple[int, ...], target: int) -> None:
    with pytest.raises(ValueError, match="positive integers; got"):
        CountdownProblem(numbers, target)


def test_a_problem_has_two_numbers_at_least() -> None:
    with pytest.raises(ValueError, match="two numbers or more"):
        CountdownProblem((3,), 3)
