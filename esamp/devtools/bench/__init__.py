"""What Exploratory Sampling costs an engine. Needs vLLM and torch; neither Ray nor a network. Run through `python -m
jobs.devtools.bench_engine`."""
