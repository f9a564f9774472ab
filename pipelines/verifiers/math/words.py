r"""Answers that are words, letters of a choice or units: compared as text, since a parser would multiply their letters."""

import re

SMALL_NUMBERS = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
    ),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
NUMBER_WORDS = {word: 10 * place for place, word in enumerate(TENS, start=1)} | {
    word: value for value, word in enumerate(SMALL_NUMBERS)
}
SAME = {"dne": "does not exist", "doesn't exist": "does not exist", "no solutions": "no solution", "yep": "yes"}
CHOICE = re.compile(r"\(?([A-J])\)?")
CHOICE_AND_VALUE = re.compile(r"\(?([A-J])\s*[).:](?![A-Za-z]*\()\s*(?:\S.*)?|\(([A-J])\)(?:\s+\S.*)?", re.DOTALL)

UNITS = {
    "mm": "mm millimeter millimetre", "cm": "cm centimeter centimetre", "m": "m meter metre", "km": "km kilometer kilometre",
    "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard", "mi": "mi mile", "mg": "mg milligram", "g": "g gram",
    "kg": "kg kilogram kilo", "lb": "lb lbs pound", "oz": "oz ounce", "ml": "ml milliliter millilitre", "l": "l liter litre",
    "s": "s sec second", "min": "min minute", "h": "h hr hour", "d": "day", "w": "week", "mo": "month", "y": "yr year",
    "cent": "cent", "dollar": "dollar", "degree": "degree", "rad": "rad radian", "kmh": "km/h kph", "mph": "mph", "ms": "m/s",
}  # fmt: skip
UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names.split()}
UNIT = re.compile(
    r"[\d})](?:\\[,;:! ]|~|\s)*(?:\\text\s*\{\s*(?P<text>[^{}]+?)\s*\}|(?P<bare>[A-Za-z]{2,}(?:/[a-z]+)?))\s*"
    r"(?:\^\s*\{?(?P<power>[123])\}?)?\s*$"
)


def as_words(answer: str) -> str:
    r"""The words of an answer that is nothing else, in lower case: "\text{Does not exist.}" is "does not exist"; "" for formulas.
    Words for numbers are the numbers: "seven" is "7"."""
    plain = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", answer).replace("\\ ", " ").replace("~", " ")
    plain = re.sub(r"^(?:the|an?)\s+", "", re.sub(r"[\s.,;:!\"]+", " ", plain).strip().casefold())
    if not re.fullmatch(r"[a-z][a-z'\- ]*[a-z]", plain) or ("\\text" not in answer and len(plain) < 3):
        return ""
    parts = re.split(r"[\s-]+", plain)
    if all(part in NUMBER_WORDS for part in parts) and len(parts) <= 2:
        return str(sum(NUMBER_WORDS[part] for part in parts))
    return SAME.get(plain, plain)


def as_choice(answer: str) -> str:
    """The letter of an answer that is one, as a reference is written: "(C)" or "C"; "" for others."""
    match = CHOICE.fullmatch(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer).strip())
    return match[1] if match else ""


def chosen_letter(answer: str) -> str:
    """The letter of an answer to a choice, with or without what it stands for: "C", "(C)", "C) 15"; "" if it begins with none."""
    plain = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer).strip()
    match = CHOICE_AND_VALUE.fullmatch(plain)
    return as_choice(plain) or (match[1] or match[2] if match else "")


def unit(answer: str) -> str:
    r"""The unit behind a number, such as "cm^2"; "" if there is none that is known: "\text{ square meters}" is "m^2"."""
    match = UNIT.search(answer)
    if match is None:
        return ""
    name = (match["text"] or match["bare"]).strip().casefold().removesuffix(".")
    power = match["power"] or ""
    for word, exponent in (("square ", "2"), ("sq ", "2"), ("cubic ", "3")):
        if name.startswith(word):
            name, power = name.removeprefix(word), exponent
    if inside := re.fullmatch(r"(.+?)\s*\^?\s*([123])", name):
        name, power = inside[1], inside[2]
    known = UNIT_OF.get(name) or UNIT_OF.get(name.removesuffix("s"))
    return "" if known is None else known + (f"^{power}" if power not in ("", "1") else "")


def without_unit(answer: str) -> str:
    """The answer without a known unit behind its number."""
    match = UNIT.search(answer)
    return answer[: match.start() + 1] if match and unit(answer) else answer
