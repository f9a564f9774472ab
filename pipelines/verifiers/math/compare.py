r"""Are two parsed answers equal? Numbers exactly or to significant digits, formulas at points, collections element by element.

No tolerance is absolute: 1.6e-19 is not 3.2e-19. A decimal stands for a number if they agree to six significant digits, or to all digits
written where those are more (up to 12). Relations and unions of intervals are math-verify's to compare, with exact numbers in them.
"""

import re
from collections.abc import Sequence
from typing import Any

from math_verify import verify
from sympy import (
    Basic,
    Contains,
    EmptySet,
    Eq,
    Expr,
    Float,
    I,
    Interval,
    Rational,
    Set,
    Symbol,
    Tuple,
    UnevaluatedExpr,
    nan,
    oo,
    zoo,
)
from sympy.core.relational import Relational
from sympy.matrices import MatrixBase
from sympy.sets.sets import FiniteSet

LEAST_DIGITS, MOST_DIGITS = 6, 12
"""A decimal must have, and is compared to at most so many significant digits. Six are math-verify's default; twelve leave out what binary
floating point adds (0.30000000000000004)."""
PRECISION = 60
"""Digits for irrational numbers, which have no other exact comparison that is cheap."""
POINTS = (Rational(7, 5), Rational(29, 13), Rational(-3, 7), Rational(11, 3), Rational(-17, 6))
"""Where formulas are compared. Two that agree here and differ elsewhere would have to be made for it; simplifying instead takes sympy
minutes for what evaluates in milliseconds."""
PER_CENT = UnevaluatedExpr(Rational(1, 100))


def exact(parsed: Any) -> Any:
    """The same with decimals as fractions, i as the imaginary unit and matrices that cannot change."""
    if isinstance(parsed, MatrixBase):
        return parsed.applyfunc(exact).as_immutable()
    if not isinstance(parsed, Basic):
        return parsed
    floats = {number: Rational(str(number)) for number in parsed.atoms(Float) if number.is_finite}
    units = {symbol: I for symbol in parsed.free_symbols if str(symbol) == "i"}
    changed = parsed.xreplace(floats | units) if floats or units else parsed
    return changed


def written_digits(*answers: str) -> int:
    """Most significant digits of a decimal in the answers; 0 if there is no decimal."""
    decimals = [number for answer in answers for number in re.findall(r"\d*\.\d+", answer)]
    return max((len(number.replace(".", "").lstrip("0")) for number in decimals), default=0)


def are_equal(gold: Any, given: Any, *, digits: int) -> bool:
    """The reference and an answer, both `exact`. `digits`: of `written_digits`; 0 allows no rounding."""
    gold, given = without_assignment(gold, given)
    if is_scalar(gold) and is_scalar(given):
        return scalars_equal(gold, given, digits)
    gold_parts, given_parts = in_order(gold), in_order(given)
    if gold_parts is not None and given_parts is not None and (is_ordered(gold) or is_ordered(given)):
        return len(gold_parts) == len(given_parts) and all(
            are_equal(a, b, digits=digits) for a, b in zip(gold_parts, given_parts, strict=True)
        )
    if isinstance(gold, MatrixBase) and isinstance(given, MatrixBase):
        return gold.shape == given.shape and all(
            are_equal(a, b, digits=digits) for a, b in zip(gold.flat(), given.flat(), strict=True)
        )
    if isinstance(gold, FiniteSet) and isinstance(given, FiniteSet):
        return same_elements(list(gold.args), list(given.args), digits)
    if isinstance(gold, FiniteSet) and len(gold.args) == 1:
        return are_equal(gold.args[0], given, digits=digits)
    if isinstance(given, FiniteSet) and len(given.args) == 1:
        return are_equal(gold, given.args[0], digits=digits)
    if isinstance(gold, Interval) and isinstance(given, Interval):
        return intervals_equal(gold, given, digits)
    return relations_equal(gold, given)


def is_scalar(parsed: Any) -> bool:
    """A number or a formula."""
    return isinstance(parsed, Expr) and not isinstance(parsed, MatrixBase)


def scalars_equal(gold: Expr, given: Expr, digits: int) -> bool:
    """Numbers or formulas, percentages included: n% is n/100, and n itself where that is at least 1."""
    values = [value for value in (without_percent(gold), without_percent(given)) if value is not None]
    if len(values) == 1:
        # Below 1, "0.4" for 0.4% is as likely to mean 40%.
        other = given if without_percent(given) is None else gold
        if is_number(values[0]) and abs(values[0]) >= 1 and numbers_equal(values[0], evaluated(other), digits):
            return True
    gold, given = evaluated(gold), evaluated(given)
    if gold == given:
        return gold not in (nan, zoo)
    if is_number(gold) and is_number(given):
        return numbers_equal(gold, given, digits)
    if is_number(gold) or is_number(given):
        return formulas_equal(gold, given) if not digits else False
    return formulas_equal(gold, given)


def without_percent(number: Expr) -> Expr | None:
    """n of n%; None of what is no percentage."""
    return number.args[0] if number.is_Mul and len(number.args) == 2 and number.args[1] == PER_CENT else None


def evaluated(number: Expr) -> Expr:
    """Sums, binomials and the like evaluated."""
    value: Expr = number.doit()
    return value


def is_number(number: Any) -> bool:
    """True if no symbol is left."""
    return isinstance(number, Expr) and not number.free_symbols


def numbers_equal(gold: Expr, given: Expr, digits: int) -> bool:
    """Exactly equal, or a decimal of at least six significant digits that rounds to the other."""
    if not (is_number(gold) and is_number(given)):
        return False
    if gold.is_Rational and given.is_Rational:
        return gold == given or (
            digits > 0 and not (gold.is_Integer and given.is_Integer) and rounds_to(gold, given, digits)
        )
    if gold in (oo, -oo, zoo, nan) or given in (oo, -oo, zoo, nan):
        return gold == given
    difference = (gold - given).evalf(PRECISION)
    scale = max(abs(gold.evalf(PRECISION)), abs(given.evalf(PRECISION)))
    if not difference.is_number or not scale.is_comparable or scale == 0:
        return bool(difference == 0)
    if abs(difference) <= scale * Rational(1, 10 ** (PRECISION // 2)):
        return True
    return digits > 0 and rounds_to(gold, given, digits)


def rounds_to(gold: Expr, given: Expr, digits: int) -> bool:
    """Equal to as many significant digits as a decimal was written with, at least 6 and at most 12; one unit in the last place is
    forgiven beyond six, since programs print decimals cut off."""
    if not (gold.is_real and given.is_real):
        return False
    places = min(max(digits, LEAST_DIGITS), MOST_DIGITS)
    if rounded(gold, places) == rounded(given, places):
        return True
    larger = max(abs(gold.evalf(PRECISION)), abs(given.evalf(PRECISION)))
    return places > LEAST_DIGITS and bool(abs((gold - given).evalf(PRECISION)) < larger * Rational(1, 10**places))


def rounded(number: Expr, places: int) -> str:
    """A real number as a decimal of so many significant digits."""
    return f"{Float(number.evalf(PRECISION), PRECISION):.{places - 1}e}" if number != 0 else "0"


def formulas_equal(gold: Expr, given: Expr) -> bool:
    """Equal at every point of POINTS where both are real numbers; at three at least, else by math-verify."""
    symbols = sorted(gold.free_symbols | given.free_symbols, key=str)
    agree = 0
    for first in range(len(POINTS)):
        values = {symbol: POINTS[(first + 2 * place) % len(POINTS)] + place for place, symbol in enumerate(symbols)}
        pair = [value_at(formula, values) for formula in (gold, given)]
        if pair[0] is None or pair[1] is None:
            continue
        if pair[0].is_real != pair[1].is_real:
            # x^{2/3} at a negative x: sympy's root is complex, a teacher's real.
            continue
        if not numbers_equal(pair[0], pair[1], 0):
            return False
        agree += 1
    return agree >= 3 or (agree == 0 and relations_equal(gold, given))


def value_at(formula: Expr, values: dict[Symbol, Rational]) -> Expr | None:
    """The formula's value to PRECISION digits; None where it has none."""
    value = formula.xreplace(values).doit().evalf(PRECISION)
    return value if value.is_number and value.is_finite else None


def in_order(parsed: Any) -> Sequence[Any] | None:
    """The coordinates of a point or vector, the values of "x=3, y=-2" by the names' order, the elements of a set as written."""
    if isinstance(parsed, Tuple):
        return parsed.args
    if isinstance(parsed, MatrixBase) and 1 in parsed.shape:
        return list(parsed.flat())
    if isinstance(parsed, Interval) and parsed.left_open and parsed.right_open:
        return [parsed.start, parsed.end]
    if isinstance(parsed, FiniteSet) and parsed.args and all(isinstance(part, Eq) for part in parsed.args):
        names = {str(part.lhs) for part in parsed.args}
        return [part.rhs for part in sorted(parsed.args, key=lambda part: str(part.lhs))] if len(names) > 1 else None
    return (
        list(parsed._unsorted_args)
        if type(parsed).__name__ == "FiniteSet" and hasattr(parsed, "_unsorted_args")
        else None
    )


def is_ordered(parsed: Any) -> bool:
    """A point or a vector. An open interval may be one, and is not one by itself."""
    return isinstance(parsed, Tuple) or (isinstance(parsed, MatrixBase) and 1 in parsed.shape)


def without_assignment(gold: Any, given: Any) -> tuple[Any, Any]:
    """ "x = 5" as 5 where the other side is no relation, in every element of a set; "x = 5" and "y = 5" stay and differ."""
    if is_assigned(gold) and is_assigned(given):
        if gold.lhs == given.lhs:
            return gold.rhs, given.rhs
        return gold, given
    if isinstance(gold, FiniteSet) and isinstance(given, FiniteSet):
        if any(is_assigned(part) for part in gold.args) != any(is_assigned(part) for part in given.args):
            return values_of(gold), values_of(given)
        return gold, given
    if is_assigned(gold) and not isinstance(given, Relational):
        return gold.rhs, given
    if is_assigned(given) and not isinstance(gold, Relational):
        return gold, given.rhs
    if isinstance(given, Contains) and isinstance(gold, Set):
        return gold, given.args[1]
    if isinstance(gold, Contains) and not isinstance(given, Contains):
        return gold.args[1], given
    return gold, given


def is_assigned(parsed: Any) -> bool:
    """ "x = ..." with a symbol or a function on the left that does not stand on the right."""
    return (
        isinstance(parsed, Eq) and (parsed.lhs.is_Symbol or parsed.lhs.is_Function) and not parsed.rhs.has(parsed.lhs)
    )


def values_of(parts: FiniteSet) -> FiniteSet:
    """A set with "x = 5" as 5."""
    return FiniteSet(*(part.rhs if is_assigned(part) else part for part in parts.args))


def same_elements(gold: list[Any], given: list[Any], digits: int) -> bool:
    """Each element of one has its own equal in the other."""
    if len(gold) != len(given):
        return False
    left = list(given)
    for element in gold:
        equal = next((other for other in left if are_equal(element, other, digits=digits)), None)
        if equal is None:
            return False
        left.remove(equal)
    return True


def intervals_equal(gold: Interval, given: Interval, digits: int) -> bool:
    """The same ends, open or closed alike."""
    return (
        (gold.left_open, gold.right_open) == (given.left_open, given.right_open)
        and are_equal(gold.start, given.start, digits=digits)
        and are_equal(gold.end, given.end, digits=digits)
    )


def relations_equal(gold: Any, given: Any) -> bool:
    """Inequalities in one variable by where they hold, exactly; other relations and sets without end by math-verify."""
    if gold is EmptySet or given is EmptySet:
        return gold is given
    regions = [region_of(relation) for relation in (gold, given)]
    if regions[0] is not None and regions[1] is not None and gold.free_symbols == given.free_symbols:
        return bool(regions[0] == regions[1] or regions[0].symmetric_difference(regions[1]).is_empty)
    equal: bool = verify([gold], [given], allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True)
    return equal


def region_of(relation: Any) -> Set | None:
    """Where an inequality in one variable holds; None if that cannot be said, or for anything else."""
    if not isinstance(relation, Relational) or isinstance(relation, Eq) or len(relation.free_symbols) != 1:
        return None
    try:
        region: Set = relation.as_set()
    except NotImplementedError:
        # sympy solves polynomial inequalities, and few others.
        return None
    return region
