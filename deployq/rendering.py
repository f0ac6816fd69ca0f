"""Reports for people: plain lines and rich tables. The same facts go out as JSON elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from torch import Tensor

from deployq.bundle import Bundle
from deployq.console import open_console
from deployq.simulator import Simulation
from deployq.verifier.report import MOVED, Parity, Report, Top1
from deployq_targets.latency_model import ModelledLatency


def bundle_lines(path: Path, bundle: Bundle) -> list[str]:
    """What an export wrote."""
    sizes = [f"  {file.path}  {file.size:,} bytes" for file in bundle.files]
    return [f"bundle {path}", *sizes]


def print_report(report: Report) -> None:
    """A verification as tables; limits that were missed come last."""
    console = open_console()
    for parity in report.parities:
        console.print(_parity_table(parity))
        if parity.top1 is not None:
            console.print(_top1_line(parity.top1))
    if report.accuracy:
        console.print(_accuracy_table(report))
        if report.moved:
            console.print(MOVED)
    for line in [*_latency_lines(report), *(f"float: {node}" for node in report.floats)]:
        console.print(line)
    if report.modelled is not None:
        console.print(_modelled_table(report.modelled))
        for line in report.modelled.left_out:
            console.print(f"no modelled time: {line}")
    misses = report.misses()
    for line in misses:
        console.print(Text.assemble(("limit missed", "bold"), f" {line}"))
    console.print(f"{report.target}: {report.verdict}")


def _parity_table(parity: Parity) -> Table:
    title = f"{parity.name} (arithmetic of {parity.contract}, {parity.images} images)"
    table = Table(title=title, title_justify="left")
    table.add_column("tensor", no_wrap=True)
    for column in ("codes", "different", "max LSB", "far from tie", "distinct"):
        table.add_column(column, justify="right")
    for row in parity.layers:
        table.add_row(
            row.tensor, f"{row.compared:,}", f"{row.different:,}", str(row.max_lsb),
            str(row.far_from_tie), str(row.distinct),
        )  # fmt: skip
    table.add_section()
    table.add_row("all", f"{parity.compared:,}", f"{parity.different:,}", "", "", "")
    return table


def _top1_line(top1: Top1) -> str:
    return f"top-1 {top1.sentence}; {top1.ties} ties apart"


def _accuracy_table(report: Report) -> Table:
    metric = report.metric
    table = Table(title=f"{metric.name} over {report.images} images", title_justify="left")
    table.add_column("evaluator")
    further = list(next(iter(metric.details.values()), {}))
    for column in (metric.name, *further):
        table.add_column(column, justify="right")
    for name, value in report.accuracy.items():
        shown = f"{100 * value:.2f} %" if metric.name == "top-1" else f"{value:.6g}"
        table.add_row(name, shown, *(f"{metric.details[name][key]:.6g}" for key in further))
    return table


def _latency_lines(report: Report) -> list[str]:
    latency = report.latency
    left = f"; in float: {', '.join(latency.float_nodes)}" if latency.float_nodes else ""
    return [
        f"latency of one sample on {latency.runtime}, {latency.threads} thread(s): median "
        f"{latency.median_ms:.3f} ms (5 % {latency.low_ms:.3f}, 95 % {latency.high_ms:.3f}, "
        f"{latency.runs} runs), {100 * latency.integer_share:.1f} % of the multiply-accumulates in "
        f"integer kernels{left}",
        f"  the un-optimised file in float, interleaved: median {latency.float_median_ms:.3f} ms, "
        f"ratio {latency.float_median_ms / latency.median_ms:.2f}",
    ]


def _modelled_table(modelled: ModelledLatency) -> Table:
    clock = f"{modelled.target}, {modelled.clock_hz / 1e6:g} MHz"
    table = Table(title=f"latency of one sample on {clock}: {modelled.label}", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("operator")
    for column in ("MACs", "cycles", "ms", "bound"):
        table.add_column(column, justify="right")
    for layer in modelled.layers:
        table.add_row(
            layer.name, layer.operator, f"{layer.macs:,}", f"{layer.total:,.0f}",
            f"{layer.milliseconds:.4f}", str(layer.bound),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "all", "", f"{modelled.macs:,}", f"{modelled.cycles:,.0f}", f"{modelled.milliseconds:.4f}",
    )  # fmt: skip
    return table


def simulation_facts(simulation: Simulation) -> dict[str, Any]:
    """Shapes and ranges of every tensor, the outputs' shapes, and what ran in float."""
    return {
        "codes": {name: _extent(codes) for name, codes in simulation.codes.items()},
        "sums": {name: _extent(sums) for name, sums in simulation.sums.items()},
        "outputs": {name: list(array.shape) for name, array in simulation.outputs.items()},
        "floats": list(simulation.floats),
    }


def _extent(integers: Tensor) -> dict[str, Any]:
    low, high = int(integers.min()), int(integers.max())
    return {"shape": list(integers.shape), "min": low, "max": high}


def simulation_lines(simulation: Simulation) -> list[str]:
    """One line a tensor, then one for each operator in float."""
    facts = simulation_facts(simulation)
    lines = [
        f"{name}  {entry['shape']}  {kind} {entry['min']}..{entry['max']}"
        for kind in ("codes", "sums")
        for name, entry in facts[kind].items()
    ]
    lines += [f"output {name}  {shape}" for name, shape in facts["outputs"].items()]
    return lines + [f"float: {name}" for name in facts["floats"]]
