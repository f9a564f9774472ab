"""Joint draws: siblings of a prompt share out the probability space, and each of them alone is still an exact sample of the model.

A sibling draws its token by inverting the distribution function at a number u that is uniform on [0, 1). Which u it gets depends on the
others': low-discrepancy sequences instead of independent numbers. Torch only; neither vLLM nor Ray.
"""
