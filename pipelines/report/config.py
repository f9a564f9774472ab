"""Settings of a report. Imports the standard library and our errors only, so that `--help` is instant."""

from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiversityConfig:
    """Samples that the diversity measures read, and the models that they use."""

    problems: int = 32
    """Problems whose samples are compared with each other, the first of the dataset. Time grows with their number."""
    samples: int = 16
    """Samples of each, the first in launch order; the same number for every run, since every measure depends on it."""
    embedding_model: Path | None = None
    """Folder of a text encoder (such as all-MiniLM-L6-v2) for cosine and Vendi score; without it they are left out."""
    perplexity_model: Path | None = None
    """Folder of a second causal language model for perplexity; without it only the run's own model judges."""

    def __post_init__(self) -> None:
        if self.problems < 1 or self.samples < 2:
            raise InputError(
                f"diversity needs problems >= 1 and samples >= 2; got problems={self.problems}, samples={self.samples}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingConfig:
    """Samples that the page shows. The page says how many it leaves out; the run folders hold all."""

    problems: int = 100
    """Problems whose samples can be read; those with different outcomes between conditions come first."""
    samples: int = 6
    """Samples shown of each problem and condition, in launch order: half correct and half others where there are enough of both."""
    characters: int = 4_000_000
    """Characters of samples in all; the page grows by about as many bytes, and by two per token for the marks."""

    def __post_init__(self) -> None:
        if min(self.problems, self.samples, self.characters) < 0:
            raise InputError(f"reading.problems, reading.samples and reading.characters must be >= 0; got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Settings of a report."""

    diversity: DiversityConfig = field(default_factory=DiversityConfig)
    """Measures of how different samples are."""
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    """Samples shown in the page."""
