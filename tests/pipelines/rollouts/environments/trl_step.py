"""One training step of TRL on an exported file, in TRL's environment.

    python trl_step.py {sft,pairs,kto} FILE MODEL [CHAT_TEMPLATE]

Prints JSON: rows, steps, loss, and the tokens of the first batch that are learned from (SFT) or scored (DPO, KTO).
"""

import json
import sys
import tempfile

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

TRAINERS = {"sft": (SFTTrainer, SFTConfig), "pairs": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}


def main(method: str, file: str, model: str, chat_template: str | None = None) -> None:
    """Load, train a step, print."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer_class, config_class = TRAINERS[method]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_class(
            model=AutoModelForCausalLM.from_pretrained(model),
            args=config_class(
                output_dir=folder,
                max_steps=1,
                per_device_train_batch_size=2,
                use_cpu=True,
                bf16=False,
                report_to="none",
                logging_steps=1,
                save_strategy="no",
            ),
            train_dataset=load_dataset("parquet", data_files=file, split="train", cache_dir=folder),
            processing_class=tokenizer,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.train()
        labels = batch.get("labels")
        said = {
            "rows": len(trainer.train_dataset),
            "steps": trainer.state.global_step,
            "loss": next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
            "learned": [] if labels is None else [[t for t in row if t != -100] for row in labels.tolist()],
            "texts": [tokenizer.decode(row) for row in batch["input_ids"].tolist()] if "input_ids" in batch else [],
        }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
