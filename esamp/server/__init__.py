"""vLLM's OpenAI server with a sampling policy.

arguments  what makes vLLM's engine arguments ours
vllm_options  what vLLM's server parses, with these in it
routes     /esamp/*: counters, records, reset
launch     the server itself: python -m jobs.serve
plugin     the same arguments for engines that others start: plain vllm serve, trainers

Bad extra_args are answered with 400 by esamp/engine/request_checks.py.
"""
