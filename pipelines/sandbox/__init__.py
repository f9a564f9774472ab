"""Running programs that a model wrote: bubblewrap, or Landlock with seccomp, or (only when typed) nothing but limits.

docs/sandbox.md has the threat model; `python -m jobs.sandbox` tests it on this machine.
"""
