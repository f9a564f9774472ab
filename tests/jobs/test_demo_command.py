"""The demo's runs differ in the sampler and in nothing else."""

from dataclasses import replace

from jobs.demo import DemoCommand, demo_runs


def test_all_samplers_see_the_same_problems_and_seeds() -> None:
    vanilla, *others = demo_runs(DemoCommand(problems=5, samples=3, seed=2))
    assert vanilla.sampler == "vanilla"
    assert [run.sampler for run in others] == ["quasi", "esamp"]
    for other in others:
        assert replace(vanilla, sampler=other.sampler, output=other.output) == other
