"""What a sandbox has to stop, as programs: each defines attack(), which returns True if it got through.

A program may use the constants of a Target, which name real things outside the sandbox. Whoever runs an attack looks at those
things as well (self_test.py): an attack is not asked alone whether it was stopped.

They are run to find out whether a backend works, so none does harm where it does not: bombs are small, signals to anybody but the grader
are signal 0, what is written is removed.
"""

from pipelines.sandbox.attacks.attack import Attack, Target
from pipelines.sandbox.attacks.escapes import ESCAPES
from pipelines.sandbox.attacks.exhaustion import EXHAUSTION
from pipelines.sandbox.attacks.forgeries import FORGERIES

ATTACKS = (*ESCAPES, *EXHAUSTION, *FORGERIES)

__all__ = ["ATTACKS", "Attack", "Target"]
