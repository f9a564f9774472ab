r"""Mathematics: is the answer in a text equal to the reference, however it is written? On math-verify (Hynek Kydlíček et al.) and sympy.

    text -> find_answer (answer.py) -> normalised (notation.py) -> as words or letters? (words.py)
         -> too_costly? (guards.py) -> math-verify's parser -> are_equal (compare.py) -> verdict

What differs from math-verify's own verdicts, and why, is in docs/verifiers.md.
"""

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse
from sympy import Interval, Rational, Union, oo, pi
from sympy.sets.sets import Set

from pipelines.problems.problem import Problem
from pipelines.verifiers.math.answer import find_answer
from pipelines.verifiers.math.compare import are_equal, exact, is_number, is_scalar, written_digits
from pipelines.verifiers.math.guards import MAX_RAW_CHARACTERS, too_costly
from pipelines.verifiers.math.notation import normalised
from pipelines.verifiers.math.words import as_choice, as_words, chosen_letter, unit, without_unit
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

# It warns once per process that its time limits are off. They are on purpose: see `verify_math`.
logging.getLogger("math_verify").setLevel(logging.ERROR)

TARGETS = (LatexExtractionConfig(boxed_match_priority=0),)
BASE = re.compile(r"([0-9A-Z]+)_\{?([0-9]+)\}?")
BARE_RELATION = re.compile(r"(?:\\(?:neq?|le|ge|leq|geq|lt|gt)(?![a-zA-Z])|[<>])")
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
CONNECTIVE = re.compile(r"(?<![A-Za-z])(or|and)(?![A-Za-z])")
RATIO = re.compile(r"(\d+):(\d+)")
VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Parsed:
    """One answer, read."""

    text: str
    """In normal notation."""
    value: Any
    """A sympy object with exact numbers; None if it cannot be read."""


class TooCostlyError(ValueError):
    """An answer that is not evaluated; the message says why."""


def verify_math(text: str, problem: Problem) -> Verdict:
    """Equal as mathematics or not.

    Nearly all that takes long is refused by guards.py; for what is left this runs in a process that can be killed from outside.
    math-verify's own time limits are off: they use signals, which work on a main thread only, and off it score every answer wrong.
    Raises ValueError if the reference cannot be read, and whatever math-verify or sympy raise while they compare.
    """
    reference = reference_notation(problem.answer)
    check_reference(reference)
    found = find_answer(text)
    if not found.readings:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="the text commits to no answer")
    if found.is_cut:
        return plain_verdict(VerdictStatus.PARSE_ERROR, found.readings[0], "the text ends inside the answer")
    if len(found.readings[0]) > MAX_RAW_CHARACTERS:
        return plain_verdict(
            VerdictStatus.PARSE_ERROR,
            found.readings[0][:200],
            f"not evaluated: longer than {MAX_RAW_CHARACTERS} characters",
        )
    readings = [normalised(reading) for reading in found.readings]
    extracted = readings[0]
    unread = ""
    for reading in readings:
        try:
            if is_equal(reference, reading):
                return plain_verdict(VerdictStatus.CORRECT, reading)
        except TooCostlyError as error:
            return plain_verdict(VerdictStatus.PARSE_ERROR, extracted[:200], f"not evaluated: {error}")
        except UnreadableError:
            unread = reading
    if unread == extracted:
        return plain_verdict(VerdictStatus.PARSE_ERROR, extracted, "cannot be read as mathematics")
    return plain_verdict(VerdictStatus.WRONG, extracted)


class UnreadableError(ValueError):
    """An answer that is no mathematics."""


@lru_cache(maxsize=1024)
def reference_notation(answer: str) -> str:
    r"""A reference answer in normal notation: GSM8K's is what follows "####", a worked solution's what its last box holds."""
    if "####" in answer:
        answer = answer.rpartition("####")[2]
    found = find_answer(answer) if "\\boxed" in answer else None
    return normalised(found.readings[0] if found and found.readings else answer)


@lru_cache(maxsize=1024)
def check_reference(reference: str) -> None:
    """Raise ValueError if a reference cannot be read: no answer could be right."""
    if as_words(reference) or as_choice(reference):
        return
    if not reference or too_costly(reference) or read(reference) is None:
        raise ValueError(
            f"the reference answer {reference[:60]!r} cannot be read as mathematics; use --verifier exact."
        )


def is_equal(reference: str, answer: str) -> bool:
    """Two answers in normal notation. Raises TooCostlyError or UnreadableError if the second cannot be compared."""
    if without_spaces(reference) == without_spaces(answer):
        return True
    if letter := as_choice(reference):
        return letter == chosen_letter(answer) or (letter == answer.strip("{} "))
    if as_words(reference) and as_words(answer):
        return as_words(reference) == as_words(answer)
    answer = as_words(answer) if as_words(answer).isdigit() else answer
    if BARE_RELATION.match(answer) and not BARE_RELATION.match(reference):
        return False
    if unit(reference) and unit(answer) and unit(reference) != unit(answer):
        return False
    if has_other_case(reference, answer) or is_other_time(reference, answer):
        return False
    if reason := too_costly(answer):
        raise TooCostlyError(reason)
    return any(are_readings_equal(gold, given) for gold in numerals(reference) for given in numerals(answer))


def are_readings_equal(reference: str, answer: str) -> bool:
    """Two answers without ambiguous commas. Raises UnreadableError if the second cannot be read."""
    if (in_base := based(reference, answer)) is not None:
        return in_base
    gold, given = read(without_unit(reference)), read(without_unit(answer))
    if given is None:
        raise UnreadableError(answer)
    if gold is None:
        return False
    digits = written_digits(reference, answer)
    return are_equal(gold, given, digits=digits) or are_same_angle(reference, gold, answer, given, digits)


def without_spaces(answer: str) -> str:
    """To compare notation only: without spaces and \\text around words."""
    return re.sub(r"\\[,;:!> ]|~|\s", "", re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer))


def numerals(answer: str) -> list[str]:
    """ "2,100" may be a number or two; each is a reading."""
    return [answer, answer.replace(",", ", ")] if THOUSANDS.fullmatch(answer) else [answer]


def has_other_case(reference: str, answer: str) -> bool:
    """ "(X+1)^2" is no answer in x: math-verify lowers the case of every letter."""
    theirs, ours = (set(VARIABLE.findall(re.sub(r"\\text\s*\{[^{}]*\}", "", side))) for side in (reference, answer))
    return any(
        letter.swapcase() in ours and letter not in ours and letter.swapcase() not in theirs for letter in theirs
    )


def is_other_time(reference: str, answer: str) -> bool:
    """A time of day is no ratio: 12:40 is not 3:10. A reference that is not in lowest terms is a time."""
    ratios = [RATIO.fullmatch(side) for side in (reference, answer)]
    if ratios[0] is None or ratios[1] is None:
        return False
    hours, minutes = int(ratios[0][1]), int(ratios[0][2])
    is_time = len(ratios[0][2]) == 2 and hours < 25 and minutes < 60 and (minutes < 10 or hours_reduce(hours, minutes))
    return is_time and [int(part) for part in ratios[1].groups()] != [hours, minutes]


def hours_reduce(hours: int, minutes: int) -> bool:
    """True if a ratio could be reduced."""
    return minutes == 0 or Rational(hours, minutes).q != minutes


def based(reference: str, answer: str) -> bool | None:
    """Numbers of which one at least has its base below it; None if neither has."""
    matches = [BASE.fullmatch(side) for side in (reference, answer)]
    if matches[0] is None and matches[1] is None:
        return None
    if matches[0] and matches[1]:
        return in_base(matches[0]) == in_base(matches[1])
    with_base = matches[0] or matches[1]
    plain = answer if matches[0] else reference
    assert with_base is not None
    # The base may be left out: the question asks for it.
    return with_base[1] == plain or (plain.isdigit() and in_base(with_base) == int(plain))


def in_base(match: re.Match[str]) -> int | None:
    """The value of 101_2; None if a digit does not exist in the base."""
    base = int(match[2])
    try:
        return int(match[1], base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def are_same_angle(reference: str, gold: Any, answer: str, given: Any, digits: int) -> bool:
    r"""60^\circ and \frac{\pi}{3}: where one side only is in degrees and the other has a \pi."""
    degrees = ["circ" in side or unit(side) == "degree" for side in (reference, answer)]
    if degrees[0] == degrees[1] or not (is_number(gold) and is_number(given)):
        return False
    in_degrees, radians = (gold, given) if degrees[0] else (given, gold)
    return bool(radians.has(pi)) and are_equal(in_degrees * pi / 180, radians, digits=digits)


@lru_cache(maxsize=1024)
def read(answer: str) -> Any:
    """The sympy object that an answer in normal notation stands for, with exact numbers; None if it is none."""
    if (region := read_region(answer)) is not None:
        return region
    parsed = parse(f"\\boxed{{{answer}}}", TARGETS, parsing_timeout=None, raise_on_error=True)
    value = parsed[0] if parsed else None
    return None if value is None or isinstance(value, str) else exact(value)


def read_region(answer: str) -> Set | None:
    """ "x<1 or x>3" as a set; None of what joins no relations."""
    parts = CONNECTIVE.split(answer)
    if len(parts) < 3 or not all(BARE_RELATION.search(part) for part in parts[::2]):
        return None
    regions = [as_region(part) for part in parts[::2]]
    if any(region is None for region in regions):
        return None
    result = regions[0]
    for word, region in zip(parts[1::2], regions[1:], strict=True):
        result = result.union(region) if word == "or" else result.intersect(region)
    return result


def as_region(relation: str) -> Any:
    """Where a relation in one variable holds; None if it has none or more."""
    value = read(relation.strip(" ,"))
    if value is None or is_scalar(value) or not value.free_symbols or len(value.free_symbols) > 1:
        return None
    return value if isinstance(value, Interval | Union) else value.as_set().intersect(Interval(-oo, oo))
