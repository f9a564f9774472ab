"""The report of one or several finished runs: one HTML file, its figures as PNG, its numbers as CSV.

RunSamples (one run, read) -> RunSet (runs of the same problems, grouped into conditions) -> measures, comparisons, figures -> page
"""
