"""docs/findings.md, "a larger model": the Distiller's error and the shift it makes along answers of another model.

python docs/findings/larger_model.py MODEL_FOLDER openings.jsonl
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from esamp.config import ESampConfig
from esamp.devtools.lockstep.config import LockstepConfig
from esamp.devtools.lockstep.mechanism import mean_of, sharpening
from esamp.devtools.lockstep.sampler import LockstepSampler

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
openings = [json.loads(line)["opening"] for line in Path(sys.argv[2]).read_text().splitlines()[:2]]
prompts = [tokenizer(opening)["input_ids"] for opening in openings]
config = LockstepConfig(esamp=ESampConfig(trainer="sync"))
drawn = LockstepSampler(model, config, prompts, samples=8, max_tokens=160).draw([1, 2])
error_PNT = drawn.error_PNT / drawn.norm_PNT
print("error by 16 tokens", [round(mean_of(error_PNT[..., first : first + 16]), 3) for first in range(1, 160, 16)])
found = sharpening(drawn)
print(
    "explained",
    mean_of(found.explained_PNT),
    "entropy",
    mean_of(found.plain_entropy_PNT),
    mean_of(found.fused_entropy_PNT),
)
