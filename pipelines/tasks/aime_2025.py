"""AIME 2025: both papers, 30 problems, each answer an integer from 0 to 999.

Source and split as in lighteval (tasks/tasks/aime.py). The hub's copy was not loaded here.
"""

from dataclasses import replace

from pipelines.problems.task import HubSource
from pipelines.tasks import aime_2024

TASK = replace(aime_2024.TASK, name="aime2025", source=HubSource("yentinglin/aime_2025", split="train"))
