"""What a Pass@k run shows, and how sure that is: estimators and tests that hold for samples which depend on each other.

numpy and scipy only. docs/statistics.md says which of them answers which question.
"""
