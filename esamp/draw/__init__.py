"""The fused draw: both draws of a step, their log-probabilities and the number of candidates in one pass over [batch, vocabulary].

inputs      what is drawn from, and what is asked for
noise       vLLM's random numbers for a draw on a CPU
reference   the same in torch, slow and plain: what the kernels must equal. For tests only
library     the compiled kernel.c: found, built or missing
cpu         calls it
cuda        the kernel for CUDA, in Triton
backend     chooses one of them for a device
"""
