"""docs/findings.md, "too slow" and "from too little": how well a Distiller of the embedded model can learn at all.

python -m jobs.devtools.lockstep --conditions vanilla && python docs/findings/learning_curves.py runs/lockstep/vanilla-0.npz
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from esamp.config import ESampConfig
from esamp.devtools.lockstep.fitting import Rows, fit, mean_error, read_rows
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.devtools.lockstep.study import read_condition
from pipelines.problems.countdown import evaluation_problems

tokens_PNT = read_condition(Path(sys.argv[1])).samples.tokens_PNT
model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
prompts = [tokenizer(problem.prompt)["input_ids"] for problem in evaluation_problems(len(tokens_PNT))]
gain_H = model.model.norm.weight.detach().float()


def rows(problems: range, samples: range, layer: int) -> Rows:
    """Rows of these samples of these problems."""
    pairs = [(p, n) for p in problems for n in samples]
    answers = [[token for token in tokens_PNT[p, n].tolist() if token >= 0] for p, n in pairs]
    return read_rows(model, [prompts[p] for p, _ in pairs], answers, layer)


for layer in (1, 3, 5):
    seen, unseen = rows(range(16), range(16), layer), rows(range(16), range(16, 24), layer)
    config = ESampConfig(learning_rate=3e-3, trainer="sync")
    print(
        f"layer {layer}, 16 problems: mean {mean_error(seen, unseen):.3f}",
        fit(config, gain_H, seen, unseen, [0, 25, 100, 400, 1200]),
    )
seen, unseen = rows(range(1), range(24), 1), rows(range(1), range(24, 32), 1)
for rate in (4e-4, 3e-3):
    print(
        f"one problem, rate {rate}", fit(replace(config, learning_rate=rate), gain_H, seen, unseen, [0, 25, 100, 400])
    )
