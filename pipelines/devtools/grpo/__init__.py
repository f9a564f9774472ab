"""GRPO on the embedded model with TRL, from samples of our engine.

config    what is trained: samplers, steps, problems
result    what a training leaves
training  one training: TRL's trainer, and the engine that it gets its samples from
curves    what trainings reached, as tables and a figure
"""
