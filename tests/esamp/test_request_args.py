"""What a request may say, and what is refused before it reaches an engine."""

import pytest

from esamp.request_args import check_request_args


def test_good_arguments_and_those_of_others_pass() -> None:
    check_request_args({"esamp_group": "p17", "esamp_group_size": 16, "esamp_sample": 0, "esamp_beta": 0})
    check_request_args({"esamp_vanilla": True, "esamp_record": "a", "esamp_record_rollout": 1.0, "session_id": [-1]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("esamp_group", ""),
        ("esamp_group", 17),
        ("esamp_group_size", 0),
        ("esamp_group_size", True),
        ("esamp_sample", -1),
        ("esamp_sample", 1.5),
        ("esamp_beta", float("nan")),
        ("esamp_beta", float("inf")),
        ("esamp_beta", "0.5"),
        ("esamp_vanilla", 2),
        ("esamp_record", None),
        ("esamp_record_rollout", "true"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name_and_rule(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*; got "):
        check_request_args({name: value})


def test_a_name_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="unknown esamp_gruop; known are esamp_group, esamp_group_size"):
        check_request_args({"esamp_gruop": "a"})
