"""The formats. Adding one is a file here and an entry below, which --help and docs/rollouts.md follow (a test compares them)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipelines.rollouts.formats import canonical, kto, pairs, prime_rl, prompts, sft, sft_tokens, slime, verl
from pipelines.rollouts.formats.writer import ExportContext, RolloutWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format: what is said of it, and what it needs."""

    about: str
    """In one line, for --help."""
    open_writer: Callable[[Path, ExportContext], AbstractContextManager[RolloutWriter]]
    commands: tuple[tuple[str, str], ...]
    """For each trainer that loads it: name, and how its command line names the file OUT."""
    has_logprobs: bool = False
    """Behaviour log-probabilities are in it, so that those of unknown or of several policies must not be."""
    has_rewards: bool = False
    """Rewards of groups are in it, so that groups must be fair samples of their problems."""
    needs_advantages: bool = False
    needs_kept_tokens: bool = False
    """Trainers compare its behaviour log-probabilities with their own, so that draws that were filtered need the kept tokens."""
    takes_kept_tokens: bool = False
    """It has a place for them."""
    needs_complete_groups: bool = False
    """Trainers take groups of one size; others are left out."""
    takes_failures: bool = False
    """It has a place for rollouts without a reward."""
    takes_empty_groups: bool = False
    """A group counts even if no rollout of it does."""
    ends_responses: bool = False
    """Trainers put an end token behind every response, so that one that ended at its length limit must not be there."""


FORMATS: dict[str, Format] = {
    "canonical": Format(
        about="everything that is known of each rollout, in Parquet",
        open_writer=canonical.open_writer,
        commands=(("any", 'datasets.load_dataset("parquet", data_files="OUT")'),),
        has_logprobs=True,
        has_rewards=True,
        takes_kept_tokens=True,
        takes_failures=True,
    ),
    "prompts": Format(
        about="a row for each problem, for online RL",
        open_writer=prompts.open_writer,
        commands=(
            ("verl 0.9.1", "python -m verl.trainer.main_ppo data.train_files=OUT data.prompt_key=prompt ..."),
            ("SkyRL a9564572", "python -m skyrl.train.entrypoints.main_base data.train_data=\"['OUT']\" ..."),
            ("open-instruct e6c3044a", "python open_instruct/grpo_fast.py --dataset_mixer_list OUT 1.0 ..."),
        ),
        takes_empty_groups=True,
    ),
    "sft": Format(
        about="correct answers, as chat messages or text",
        open_writer=sft.open_writer,
        commands=(
            ("TRL 1.16.0", 'trl.SFTTrainer(train_dataset=datasets.load_dataset("parquet", data_files="OUT")["train"])'),
            ("verl 0.9.1", "torchrun -m verl.trainer.sft_trainer data.train_files=OUT data.messages_key=messages ..."),
            (
                "OpenRLHF 0.11.2",
                "python -m openrlhf.cli.train_sft --data.dataset OUT --data.input_key prompt --data.output_key completion "
                "--data.apply_chat_template ...",
            ),
            ("prime-rl 559b4477, NeMo-RL 7ea279ab, open-instruct e6c3044a", "column messages (chat models)"),
        ),
        ends_responses=True,
    ),
    "sft-tokens": Format(
        about="correct answers, as the tokens that were drawn",
        open_writer=sft_tokens.open_writer,
        commands=(
            ("TRL 1.16.0", 'trl.SFTTrainer(train_dataset=datasets.load_dataset("parquet", data_files="OUT")["train"])'),
            ("SkyRL a9564572", "the pretokenized data set of its SFT trainer: columns input_ids, loss_mask"),
        ),
    ),
    "pairs": Format(
        about="a correct and a wrong answer each, for DPO",
        open_writer=pairs.open_writer,
        commands=(
            ("TRL 1.16.0", 'trl.DPOTrainer(train_dataset=datasets.load_dataset("parquet", data_files="OUT")["train"])'),
            (
                "OpenRLHF 0.11.2",
                "python -m openrlhf.cli.train_dpo --data.dataset OUT --data.prompt_key prompt --data.chosen_key chosen "
                "--data.rejected_key rejected --data.apply_chat_template ...",
            ),
            (
                "NeMo-RL 7ea279ab",
                "data.train.dataset_name=BinaryPreferenceDataset data.train.data_path=OUT chosen_key=chosen_text "
                "rejected_key=rejected_text",
            ),
        ),
        ends_responses=True,
    ),
    "kto": Format(
        about="answers labelled correct or not, for KTO",
        open_writer=kto.open_writer,
        commands=(
            ("TRL 1.16.0", 'trl.KTOTrainer(train_dataset=datasets.load_dataset("parquet", data_files="OUT")["train"])'),
        ),
        has_rewards=True,
        ends_responses=True,
    ),
    "slime": Format(
        about="slime's rollout dump, a file for each training step",
        open_writer=slime.open_writer,
        commands=(
            (
                "slime 624b824a",
                "python train.py --load-debug-rollout-data 'OUT/{rollout_id}.pt' --rollout-batch-size GROUPS_PER_STEP "
                "--n-samples-per-prompt N --rollout-temperature T --use-tis ...",
            ),
        ),
        has_logprobs=True,
        has_rewards=True,
        needs_kept_tokens=True,
        takes_kept_tokens=True,
        needs_complete_groups=True,
    ),
    "prime-rl": Format(
        about="prime-rl's TrainingSample, a msgpack file for each step",
        open_writer=prime_rl.open_writer,
        commands=(
            (
                "prime-rl 0.8.0 (559b4477)",
                "msgspec.msgpack.decode(bytes, type=list[TrainingSample]), then prepare_batch (a loader of your own)",
            ),
        ),
        has_logprobs=True,
        has_rewards=True,
        needs_advantages=True,
        needs_kept_tokens=True,
    ),
    "verl": Format(
        about="verl's generation batches, replayed by skip.rollout",
        open_writer=verl.open_writer,
        commands=(
            (
                "verl 0.9.1",
                "python -m verl.trainer.main_ppo_v0 skip.rollout.enable=True skip.rollout.steps=[1,2] skip.rollout.dump_dir=DIR "
                "(OUT is DIR/EXPERIMENT_PROJECT) data.train_files=OUT/prompts.parquet data.shuffle=False "
                "data.train_batch_size=GROUPS_PER_STEP actor_rollout_ref.rollout.n=N actor_rollout_ref.rollout.temperature=T ...",
            ),
        ),
        has_logprobs=True,
        has_rewards=True,
        needs_kept_tokens=True,
        needs_complete_groups=True,
    ),
}

FORMAT_HELP = (
    "What the rollouts become: " + "; ".join(f"{name}: {entry.about}" for name, entry in FORMATS.items()) + "."
)
"""The option's help."""


def trainer_commands() -> str:
    """For each format and trainer the command line that uses the file, a line each."""
    return "\n".join(
        f"    {name:<11} {trainer}: {command}" for name, entry in FORMATS.items() for trainer, command in entry.commands
    )
