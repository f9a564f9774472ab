"""Exploratory Sampling inside one vLLM worker: who explores, with which weights, and the step itself."""
