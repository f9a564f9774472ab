"""Formats of the numbers in the page's tables."""

import numpy as np

from pipelines.statistics.comparison.sample_efficiency import SampleEfficiency
from pipelines.statistics.interval import Interval


def number(interval: Interval, unit: str) -> str:
    """An estimate; a dash where it is undefined."""
    if np.isnan(interval.estimate):
        return "\u2013"
    return f"{interval.estimate:.1%}" if unit == "share" else plain(interval.estimate)


def ends(interval: Interval, unit: str) -> str:
    """The ends of an interval; empty where it is undefined."""
    if np.isnan([interval.low, interval.high]).any():
        return ""
    if unit == "share":
        return f"{percent(interval.low)} to {percent(interval.high)}"
    return f"{plain(interval.low)} to {plain(interval.high)}"


def percent(share: float) -> str:
    """A share in percent, without the sign of a zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def plain(value: float) -> str:
    """A number in three digits or so."""
    if np.isinf(value):
        return "\u221e"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def efficiency(found: SampleEfficiency) -> str:
    """A sample efficiency in words.

    >>> efficiency(SampleEfficiency(k=4, independent=5.0, low=4.0, high=6.5, at_least=16))
    'k = 4: 5 (4 to 6.5), 20% saved'
    """
    if found.independent == 0:
        return f"k = {found.k}: \u2013"
    if np.isinf(found.independent):
        return f"k = {found.k}: more than {found.at_least}"
    high = f"more than {found.at_least}" if np.isinf(found.high) else plain(found.high)
    return f"k = {found.k}: {plain(found.independent)} ({plain(found.low)} to {high}), {100 * found.saved:.0f}% saved"


def p_value(p: float) -> str:
    """A p-value; a dash where it is undefined.

    >>> p_value(0.0004)
    '< 0.001'
    """
    if np.isnan(p):
        return "\u2013"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def signed_points(interval: Interval) -> str:
    """A difference of shares in percentage points; a dash where it is undefined."""
    return "\u2013" if np.isnan(interval.estimate) else f"{100 * interval.estimate:+.1f}"
