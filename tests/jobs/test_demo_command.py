"""The demo's two runs differ in the sampler and in nothing else."""

from dataclasses import replace

from jobs.demo import DemoCommand, demo_runs


def test_vanilla_and_esamp_see_the_same_problems_and_seeds() -> None:
    vanilla, esamp = demo_runs(DemoCommand(problems=5, samples=3, seed=2))
    assert (vanilla.sampler, esamp.sampler) == ("vanilla", "esamp")
    assert replace(vanilla, sampler="esamp", output=esamp.output) == esamp
