"""A task: where its problems come from, how a row becomes a problem and a problem a prompt, and which verifier scores an answer.

The tasks themselves are in pipelines/tasks/, one file each; docs/tasks.md shows how to add one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.problems.problem import Problem

Row = dict[str, Any]
"""A row of a dataset, by column name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """What a run may choose of how rows are read. Flags of the same names: see RunConfig."""

    choices_seed: int = 0
    released_from: str | None = None
    released_until: str | None = None


ReadRow = Callable[[Row, TaskOptions], Problem | None]
"""The problem of a row; None if the options leave the row out. An empty problem_id stands for the row's number."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A dataset as `datasets.load_dataset` finds it."""

    path: str
    """Hub id, or a builder such as "json" for `data_files`."""
    subset: str | None = None
    split: str = "test"
    revision: str | None = None
    """Commit or tag; None for the newest. A run keeps a fingerprint of its problems, so a change is noticed either way."""
    data_files: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.data_files:
            return self.data_files[0].rpartition("/")[0]
        return f"{self.path} {self.subset or ''}".strip() + f" [{self.split}]"


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """Problems that ship with the project."""

    problems: Callable[[int | None], list[Problem]]
    """The first so many problems; with None, the usual number."""

    def __str__(self) -> str:
        return "embedded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Rows that need no more than naming: of each, the first column that is there counts."""

    problem: tuple[str, ...]
    answer: tuple[str, ...] = ()
    """None where the verifier reads no answer."""
    id: tuple[str, ...] = ()
    """Rows are numbered where none of these is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task. Raises ValueError if a prompt does not hold the problem."""

    name: str
    source: HubSource | EmbeddedSource | None
    """None: the user names a dataset."""
    rows: Columns | ReadRow
    verifier: str
    """A name of pipelines.verifiers.registry, or module:function."""
    prompt: str = "{problem}"
    """Around the problem's text, as one user message."""
    raw_prompt: str | None = None
    """The same where no chat template is applied; None: as `prompt`."""
    prompt_source: str
    """Whose wording it is."""
    chat: bool = True
    """False where the model shall go on with the text itself."""
    options: frozenset[str] = frozenset()
    """Fields of TaskOptions that `rows` reads; a run that sets others is refused."""
    num_problems: int | None = None
    """Problems of the source, where that is a fixed number."""
    max_tokens: int | None = None
    """Answer tokens of a chat or base model that a run takes unless it is told otherwise, with room for nearly all answers; None: 512."""
    thinking_max_tokens: int | None = 32768
    """The same for models that write down their thoughts first: what lighteval and the models' cards allow."""
    temperature: float | None = None
    """Temperature that users of the task expect, where the model's generation_config.json names none; None: 1, as in the ESamp paper."""
    top_p: float | None = None
    """Nucleus mass, likewise; None: 1."""
    raw_stop: tuple[str, ...] = ()
    """Texts at which an answer ends where no chat template is applied: a base model goes on with another function or question."""

    def __post_init__(self) -> None:
        for prompt in (self.prompt, self.raw_prompt or "{problem}"):
            if "{problem}" not in prompt:
                raise ValueError(f'task {self.name}: a prompt must contain "{{problem}}"; got {prompt!r}.')

    def template(self, *, is_chat: bool) -> str:
        """The prompt's template with or without a chat template around it."""
        return self.prompt if is_chat or self.raw_prompt is None else self.raw_prompt
