"""Accuracy of the deployed files beside the float network and two other exporters.

    python -m benchmarks.accuracy [--models a,b] [--targets int8-npu,int4-npu] [--work DIR]

Every file runs in ONNX Runtime with its default optimisation. All contenders are calibrated on the
same samples and reported on others; quantize_static's calibrator is chosen on a third set
(``benchmarks/models/samples.py``). Intervals: 95 %, paired bootstrap. Needs the extra ``bench``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import runtime
from benchmarks.command import parser, work_folder
from benchmarks.contenders import FLOAT, PEERS, Built, build_all, facts_of
from benchmarks.models.metrics import Outputs, Rows, Top1
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.output import print_table, write_json
from benchmarks.statistics import paired_difference
from deployq.data import Dataset
from deployq.progress import progress

COLUMNS = ("network", "contender", "metric", "value", "minus float", "minus best peer",
           "same class as float %", "note")  # fmt: skip


def main() -> None:
    """Print a row for each network and contender, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--targets", default="int8-npu,int4-npu")
    arguments = flags.parse_args()
    contenders = (FLOAT, *arguments.targets.split(","), *PEERS)
    specs = chosen(arguments.models)
    networks = []
    with work_folder(arguments.work) as work, progress(len(specs)) as advance:
        for spec in specs:
            advance(spec.name)
            networks.append(measure(spec, contenders, work))
    print_table("accuracy", COLUMNS, [_cells(n, c) for n in networks for c in n["contenders"]])
    write_json({"benchmark": "accuracy", "networks": networks}, arguments.json_out)


def measure(spec: ModelSpec, contenders: tuple[str, ...], work: Path) -> dict[str, Any]:
    """Every contender's figure on the reporting samples; the float file comes first."""
    built = build_all(spec, contenders, work)
    if built[0].path is None:  # nothing to compare with
        return {"name": spec.name, "metric": spec.metric.name,
                "contenders": [facts_of(one) for one in built]}  # fmt: skip
    data = spec.reporting()
    found = {b.contender: runtime.outputs(b.path, data) for b in built if b.path is not None}
    floats = found[FLOAT]
    rows = {name: spec.metric.rows(outputs, floats, data) for name, outputs in found.items()}
    peer = _best_peer(spec, rows)
    entries = [_entry(spec, b, rows, peer, found, data) for b in built]
    return {"name": spec.name, "metric": spec.metric.name, "units": len(rows[FLOAT]),
            "best_peer": peer, "contenders": entries}  # fmt: skip


def _best_peer(spec: ModelSpec, rows: dict[str, Rows]) -> str | None:
    """The better one on the reporting samples: the harder opponent."""
    sign = 1 if spec.metric.higher_is_better else -1
    peers = [name for name in PEERS if name in rows]
    return max(peers, key=lambda n: sign * spec.metric.statistic(rows[n]), default=None)


def _entry(
    spec: ModelSpec,
    built: Built,
    rows: dict[str, Rows],
    peer: str | None,
    found: dict[str, Any],
    data: Dataset,
) -> dict[str, Any]:
    name, statistic = built.contender, spec.metric.statistic
    facts: dict[str, Any] = dict(facts_of(built))
    if name not in rows:
        return facts
    facts["value"] = statistic(rows[name])
    for key, other in (("minus_float", FLOAT), ("minus_best_peer", peer)):
        if other is not None and other != name:
            facts[key] = asdict(paired_difference(statistic, rows[name], rows[other]))
    if isinstance(spec.metric, Top1) and name != FLOAT:
        facts["agreement"] = agreement(found[name], found[FLOAT])
    return facts


def agreement(outputs: Outputs, floats: Outputs) -> float:
    """Percent of samples whose best class is the float network's."""
    return 100 * float(np.mean(outputs[0].argmax(1) == floats[0].argmax(1)))


def _cells(network: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    def interval(key: str) -> str:
        found = entry.get(key)
        return (
            f"{found['middle']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]" if found else ""
        )

    value = f"{entry['value']:.2f}" if "value" in entry else "-"
    same = f"{entry['agreement']:.2f}" if "agreement" in entry else ""
    return (network["name"], entry["contender"], network["metric"], value, interval("minus_float"),
            interval("minus_best_peer"), same, entry["reason"] or entry["note"])  # fmt: skip


if __name__ == "__main__":
    main()
