"""The report of one or several finished runs: one HTML file, its figures as PNG, its numbers as CSV.

RunSamples (one run, read) -> Evidence (runs of the same problems, as arms) -> measures, comparisons, diversity -> page
"""
