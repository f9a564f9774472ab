"""Our verdicts beside math-verify's own, sample by sample: the table of docs/verifiers.md.

python -m tests.pipelines.verifiers.math_agreement math500_test.jsonl:answer aime2024.jsonl:expected_answer gsm8k_test.jsonl:answer

math-verify's own verdict is `verify(parse(reference), parse(text))` with its defaults, its time limits aside.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from math_verify import parse, verify

from pipelines.problems.problem import Problem
from pipelines.verifiers.math.verify import verify_math
from pipelines.verifiers.verdict import VerdictStatus
from tests.pipelines.verifiers.math_answers import BROKEN, FRAMES, equivalents, near_misses


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One sample and its two verdicts."""

    kind: str
    """right, equal (another form of the reference), near miss or broken."""
    frame: str
    """The text around the answer, or how it is broken."""
    reference: str
    answer: str
    ours: VerdictStatus
    theirs: bool

    @property
    def differs(self) -> bool:
        return (self.ours == VerdictStatus.CORRECT) != self.theirs


def reference_answers(path: Path, column: str) -> list[str]:
    """Different reference answers of a dataset, without GSM8K's steps."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return list(dict.fromkeys(row[column].rpartition("####")[2].strip() for row in rows))


def compare(references: Iterable[str]) -> Iterator[Compared]:
    """Both verdicts on right, equal, nearly right and broken answers to each reference."""
    for reference in references:
        samples = [("right", frame, reference, make(reference)) for frame, make in FRAMES.items()]
        for kind, answers in (("equal", equivalents(reference)), ("near miss", near_misses(reference))):
            samples += [
                (kind, frame, answer, FRAMES[frame](answer))
                for answer in dict.fromkeys(answers)
                for frame in ("boxed", "no dollars")
            ]
        samples += [("broken", how, "", text) for how, text in BROKEN.items()]
        for kind, frame, answer, text in samples:
            yield Compared(
                kind=kind,
                frame=frame,
                reference=reference,
                answer=answer,
                ours=verify_math(text, Problem("p", "?", reference)).status,
                theirs=math_verifys_own(reference, text),
            )


def math_verifys_own(reference: str, text: str) -> bool:
    """What math-verify says by itself."""
    is_marked = "\\boxed" in reference or re.search(r"(?<!\\)\$|\\\(|\\\[", reference)
    gold = parse(reference if is_marked else f"\\boxed{{{reference}}}", parsing_timeout=None)
    equal: bool = verify(gold, parse(text, parsing_timeout=None), timeout_seconds=None)
    return equal


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        file, _, column = argument.partition(":")
        results = list(compare(reference_answers(Path(file), column)))
        print(f"{file}: {len(results)} samples")
        for (kind, ours, theirs), count in sorted(Counter((r.kind, r.ours.value, r.theirs) for r in results).items()):
            print(f"  {kind:10} ours {ours:12} math-verify {'correct' if theirs else 'not correct':12} {count:6}")
        for difference in (r for r in results if r.differs):
            print(" ", difference)
