"""The figures of the report: one figure a file. `all_figures.py` lists them, `style.py` says how they look."""
