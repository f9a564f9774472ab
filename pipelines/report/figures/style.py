"""How the report's figures look, and how they become part of a page.

Each figure is drawn once, in the colours of the light theme and of print. For the page, `themed_svg` turns the colours into CSS
variables, so that one drawing serves light and dark; text becomes outlines, so that nothing has to be loaded. Conditions differ in colour,
marker and line, so that they stay apart in grey.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

THEME = {
    "#fefefe": "--paper",
    "#1c2127": "--ink",
    "#5f6b76": "--muted",
    "#d6dbe0": "--line",
    "#0b5cad": "--condition-0",
    "#b4470b": "--condition-1",
    "#1a7340": "--condition-2",
    "#7a34b0": "--condition-3",
    "#8a6d00": "--condition-4",
    "#b0246f": "--condition-5",
}
"""Colours of the light theme, and the CSS variables of the page that replace them."""
PAPER, INK, MUTED, LINE, *CONDITION_COLOURS = THEME
MARKERS = "osD^vP"
DASHES = ("-", "--", "-.", ":")
SIZE_INCHES = (4.8, 3.2)
LEGEND_ROW_INCHES = 0.25
PRINT_DPI = 300

STYLE = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "path",
    "axes.axisbelow": True,
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedFigure:
    """A figure with what it shows, in words."""

    name: str
    """File name, without ending."""
    caption: str
    svg: str
    """Themed: fits into the page."""
    png: bytes
    """For print."""


@contextmanager
def new_figure() -> Iterator[Axes]:
    """Axes to draw on, in the report's style. Call `render` inside the block: matplotlib reads the style again when it saves."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=SIZE_INCHES, layout="constrained").add_subplot()


def render(axes: Axes, name: str, caption: str) -> RenderedFigure:
    """The figure that these axes are in, as SVG for the page and PNG for print. The same data give the same bytes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    svg, png = io.BytesIO(), io.BytesIO()
    # The ids in the SVG are hashes salted with the name: two figures in one page must not share them.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=PRINT_DPI)
    return RenderedFigure(
        name=name, caption=caption, svg=themed_svg(svg.getvalue().decode(), name, caption), png=png.getvalue()
    )


def themed_svg(svg: str, name: str, caption: str) -> str:
    """An <svg> element for the page: colours as CSS variables, size by the page, ids of its own, a text for screen readers.

    Raises ValueError if the caption holds markup: captions are constants of this package and never hold the name of a condition.
    """
    if re.search(r"[<>&\"]", caption):
        raise ValueError(f"a figure's caption must be plain text; got {caption!r}.")
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{caption}">', svg, count=1
    )
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("xlink:href", "href")


def log_k_axis(axes: Axes, ks: tuple[int, ...]) -> None:
    """k on a logarithmic axis, every second one named if there are many."""
    axes.set_xscale("log", base=2)
    named = ks if len(ks) <= 8 else ks[::2]
    axes.xaxis.set_major_locator(FixedLocator(list(named)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(named), [str(k) for k in named])


def condition_legend(axes: Axes) -> None:
    """Names of the conditions: where there is room in the figure if they are few, else below it."""
    num_conditions = len(axes.get_legend_handles_labels()[1])
    if num_conditions <= 3:
        axes.legend(loc="best")
        return
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, columnspacing=1.2)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(SIZE_INCHES[0], SIZE_INCHES[1] + LEGEND_ROW_INCHES * ((num_conditions + 1) // 2))


def colour(index: int) -> str:
    """Colour of a condition."""
    return CONDITION_COLOURS[index % len(CONDITION_COLOURS)]


def marker(index: int) -> str:
    """Marker of a condition."""
    return MARKERS[index % len(MARKERS)]


def dashes(index: int) -> str:
    """Line style of a condition."""
    return DASHES[index % len(DASHES)]


def shortened(name: str) -> str:
    """A condition's name that fits beside a bar."""
    return name if len(name) <= 24 else f"{name[:23]}\u2026"
