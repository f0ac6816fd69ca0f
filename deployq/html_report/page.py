"""The page: facts in, one self-contained HTML text out. The same facts give the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deployq.errors import InputError
from deployq.html_report.difference_strips import difference_strips
from deployq.html_report.latency_chart import latency_chart
from deployq.html_report.range_cards import range_groups
from deployq.html_report.sqnr_chart import sqnr_chart
from deployq.verifier.report import Report

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
    layers = report.layers
    return environment.get_template(TEMPLATE).render(
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


def check_page_path(path: Path) -> None:
    """Refuse what cannot be written, before the work that fills it.

    Raises:
        InputError: no such folder, or a folder of this name.
    """
    folder = path.absolute().parent
    found = "a folder" if path.is_dir() else "" if folder.is_dir() else "no such folder"
    if not found and not os.access(folder, os.W_OK):
        found = "a folder that may not be written"
    if found:
        raise _unwritable(path, found)


def write_page(report: Report, name: str, path: Path) -> None:
    """Write the page whole or not at all; a file there is replaced.

    Raises:
        InputError: the file system refuses.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            part.write_text(render_page(report, name), encoding="utf-8", newline="\n")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        "the page must be writable",
        found=found,
        allowed="a file in a folder that exists and is yours",
        next_step="name another path",
    )


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
