"""A bonus for new successors where the model is unsure. Candidates are scored before one is drawn, so that siblings part at the fork.

No Distiller can do that: a deep state does not depend on which token a sibling drew after it (docs/esamp-study.md).
"""
