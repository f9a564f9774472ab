"""verl's loaders on exported files, in verl's environment.

    python verl_load.py prompts FILE MODEL CHAT_TEMPLATE
    python verl_load.py chats FILE MODEL CHAT_TEMPLATE
    python verl_load.py replay FOLDER GROUPS N PROMPT_LENGTH RESPONSE_LENGTH

Prints JSON: what came out.
"""

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf
from transformers import AutoTokenizer


def tokenizer_of(model: str, chat_template: str):  # type: ignore[no-untyped-def]
    """The model's tokenizer with a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = chat_template
    return tokenizer


def prompts(file: str, model: str, chat_template: str) -> dict[str, object]:
    """RLHFDataset's first row."""
    from verl.utils.dataset.rl_dataset import RLHFDataset

    config = OmegaConf.create({"cache_dir": str(Path(file).parent), "filter_overlong_prompts": False})
    dataset = RLHFDataset(data_files=file, tokenizer=tokenizer_of(model, chat_template), config=config)
    row = dataset[0]
    kept = ("raw_prompt", "data_source", "reward_model", "extra_info", "index")
    return {"rows": len(dataset), **{name: row[name] for name in kept}}


def chats(file: str, model: str, chat_template: str) -> dict[str, object]:
    """MultiTurnSFTDataset's first row."""
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    tokenizer = tokenizer_of(model, chat_template)
    config = OmegaConf.create({"pad_mode": "no_padding", "max_length": 256, "truncation": "error"})
    dataset = MultiTurnSFTDataset(parquet_files=file, tokenizer=tokenizer, config=config)
    row = dataset[0]
    learned = [int(t) for t, m in zip(row["input_ids"], row["loss_mask"], strict=True) if m]
    return {"rows": len(dataset), "learned": tokenizer.decode(learned)}


def replay(folder: str, groups: str, n: str, prompt_length: str, response_length: str) -> dict[str, object]:
    """What RolloutSkip gives the trainer for step 1, found by its own rule."""
    from verl.utils.skip.config import RolloutSkipConfig
    from verl.utils.skip.rollout_skip import RolloutSkip

    project = Path(folder).name
    experiment, _, name = project.partition("_")
    local = RolloutSkipConfig(enable=True, dump_dir=str(Path(folder).parent), steps=[1], action="cache")
    config = OmegaConf.create(
        {
            "trainer": {"experiment_name": experiment, "project_name": name},
            "actor_rollout_ref": {"rollout": {"n": int(n)}},
            "data": {
                "train_batch_size": int(groups),
                "max_prompt_length": int(prompt_length),
                "max_response_length": int(response_length),
            },
        }
    )
    skip = RolloutSkip(local, config)
    assert skip.meet_precondition(1, None), f"no step 1 below {skip._get_project_dump_dir()}"
    batch = skip.warp_function(1, None)
    return {
        **{name: tensor.tolist() for name, tensor in batch.batch.items()},
        "meta_info": sorted(batch.meta_info),
        "later": skip.meet_precondition(2, None),
    }


VERBS = {"prompts": prompts, "chats": chats, "replay": replay}

if __name__ == "__main__":
    verb, *args = sys.argv[1:]
    print(json.dumps(VERBS[verb](*args), default=str))
