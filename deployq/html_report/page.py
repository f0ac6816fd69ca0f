"""The page: facts in, one self-contained HTML text out. The same facts give the same bytes."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deployq.html_report.difference_strips import difference_strips
from deployq.html_report.latency_chart import latency_chart
from deployq.html_report.range_cards import range_groups
from deployq.html_report.sqnr_chart import sqnr_chart
from deployq.verifier.report import Report
from deployq.whole_file import check_writable, write_whole

TEMPLATE = "page.html"
FLOAT, INTEGER = ("quantizers off", "runtime")
"""Evaluators of the accuracy tile."""


def render_page(report: Report, name: str) -> str:
    """The report as HTML: verdict, figures, plots, tables.

    Everything is in the text: nothing is fetched and no script runs. Names are escaped.

    Args:
        report: of ``deployq.verify``.
        name: what was verified, for the title.
    """
    layers = report.layers
    return (
        templates()
        .get_template(TEMPLATE)
        .render(
            name=name,
            report=report,
            misses=report.misses(),
            floating=report.accuracy.get(FLOAT),
            integer=report.accuracy.get(INTEGER),
            sqnr=sqnr_chart(layers.sqnr),
            ranges=range_groups(layers.ranges),
            latency=latency_chart(report.latency),
            strips=difference_strips(report.parities),
        )
    )


def templates() -> Environment:
    """The templates of pages, with the filters that they use."""
    environment = Environment(
        loader=PackageLoader("deployq.html_report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "share": _share,
        "count": _count,
        "number": _number,
        "breakable": _breakable,
    }
    return environment


def check_page_path(path: Path) -> None:
    """Refuse what cannot be written, before the work that fills it.

    Raises:
        InputError: no such folder, or a folder of this name.
    """
    check_writable(path, "page")


def write_page(report: Report, name: str, path: Path) -> None:
    """Write the page whole or not at all; a file there is replaced.

    Raises:
        InputError: the file system refuses.
    """
    write_whole(path, render_page(report, name), "page")


def _breakable(name: str) -> Markup:
    """A name that may break behind its dots."""
    return Markup(".<wbr>").join(name.split("."))


def _share(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f} %"


def _count(value: int) -> str:
    return f"{value:,}"


def _number(value: float) -> str:
    """Four significant digits, without a minus sign on zero."""
    return f"{value + 0.0:.4g}"
