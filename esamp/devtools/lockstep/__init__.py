"""Exploratory Sampling without an engine, for experiments on small models: samples in step with each other, every logit kept."""
