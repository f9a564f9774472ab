"""Engine arguments are known by name before an engine starts."""

from dataclasses import fields

from esamp.engine.arguments import engine_argument_names


def test_the_names_are_those_of_vllms_own_class() -> None:
    from vllm import EngineArgs

    assert engine_argument_names() == {field.name for field in fields(EngineArgs)}
