"""Formats of the numbers in the page's tables."""

import numpy as np

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
