"""Runs in this project's environment, with a trainer's sources on the path: exported files in the trainer's own loaders. Prints JSON.

    source_load.py SOURCES openrlhf-sft FILE MODEL CHAT_TEMPLATE        openrlhf.datasets.SFTDataset
    source_load.py SOURCES openrlhf-pairs FILE MODEL CHAT_TEMPLATE      openrlhf.datasets.RewardDataset, as train_dpo makes it
    source_load.py SOURCES slime FOLDER                                 slime's load_debug_rollout_data, step 0
    source_load.py SOURCES prime-rl FOLDER                              prime-rl's prepare_batch, step 0

SOURCES is the folder that make.sh makes. CHAT_TEMPLATE is empty for files of plain text.
"""

import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SOURCES = Path(sys.argv[1])


def openrlhf_arguments(file: str, model: str, chat_template: str, **keys: str) -> dict[str, Any]:
    """What both data sets of OpenRLHF are made with."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    data = SimpleNamespace(
        apply_chat_template=bool(chat_template), tokenizer_chat_template=chat_template or None, **keys
    )
    return {
        "dataset": load_dataset("parquet", data_files=file, split="train", cache_dir=str(Path(file).parent)),
        "tokenizer": AutoTokenizer.from_pretrained(model),
        "max_length": 128,
        "strategy": SimpleNamespace(args=SimpleNamespace(data=data)),
        "num_processors": 1,
    }


def openrlhf_sft(file: str, model: str, chat_template: str) -> dict[str, object]:
    """The tokens that are learned: the loss mask is that of the token before."""
    from openrlhf.datasets import SFTDataset

    arguments = openrlhf_arguments(file, model, chat_template, input_key="prompt", output_key="completion")
    dataset = SFTDataset(**arguments)
    learned = []
    for input_ids, _, loss_mask in (dataset[row] for row in range(len(dataset))):
        learned.append([int(t) for t, m in zip(input_ids[0, 1:], loss_mask[0, :-1], strict=True) if m])
    return {"rows": len(dataset), "learned": [arguments["tokenizer"].decode(tokens) for tokens in learned]}


def openrlhf_pairs(file: str, model: str, chat_template: str) -> dict[str, object]:
    """What stands behind the prompt in the chosen and in the rejected texts."""
    from openrlhf.datasets import RewardDataset

    keys = {"prompt_key": "prompt", "chosen_key": "chosen", "rejected_key": "rejected"}
    arguments = openrlhf_arguments(file, model, chat_template, **keys)
    dataset, tokenizer = RewardDataset(**arguments, is_dpo=True), arguments["tokenizer"]
    rows = [dataset[row] for row in range(len(dataset))]
    return {
        "rows": len(rows),
        "chosen": [tokenizer.decode(chosen[0, prompt:]) for chosen, _, _, _, prompt in rows],
        "rejected": [tokenizer.decode(rejected[0, prompt:]) for _, _, rejected, _, prompt in rows],
    }


def slime(folder: str) -> dict[str, object]:
    """The samples of the first step, as its trainer takes them from a dump."""
    sys.path.insert(0, str(SOURCES / "slime"))
    from slime.observability.rollout_data_utils import load_debug_rollout_data

    samples = load_debug_rollout_data(f"{folder}/{{rollout_id}}.pt", rollout_id=0)
    for sample in samples:
        sample._validate_response_metadata_lengths()
    return {
        "status": [sample.status.value for sample in samples],
        "rewards": [sample.get_reward_value(SimpleNamespace(reward_key=None)) for sample in samples],
        "learned": [sample.tokens[-sample.effective_response_length :] for sample in samples],
        "logprobs": [sample.rollout_log_probs for sample in samples],
    }


def prime_rl(folder: str) -> dict[str, object]:
    """Micro-batches for one worker, of the first step's samples."""
    import msgspec

    source = SOURCES / "prime-rl" / "src"
    sys.path.insert(0, str(source))
    # Its package of transports imports those over the network, with their packages.
    transports = types.ModuleType("prime_rl.transports.rollouts")
    transports.__path__ = [str(source / "prime_rl" / "transports" / "rollouts")]
    sys.modules["prime_rl.transports.rollouts"] = transports
    from prime_rl.trainer.batch import build_bin_cost, prepare_batch
    from prime_rl.transports.rollouts.types import TrainingSample

    samples = msgspec.msgpack.decode(Path(folder, "0.bin").read_bytes(), type=list[TrainingSample])
    [batches] = prepare_batch(samples, seq_len=128, num_train_workers=1, bin_cost=build_bin_cost(None))
    return {
        "samples": len(samples),
        "sequence_lengths": [length for batch in batches for length in batch.sequence_lengths],
        "learned": sum(sum(batch.loss_mask) for batch in batches),
        "advantages": sum(sum(batch.advantages) for batch in batches),
        "env_names": sorted({name for batch in batches for name in batch.env_names}),
    }


VERBS = {"openrlhf-sft": openrlhf_sft, "openrlhf-pairs": openrlhf_pairs, "slime": slime, "prime-rl": prime_rl}

if __name__ == "__main__":
    _, verb, *args = sys.argv[1:]
    print(json.dumps(VERBS[verb](*args)))
