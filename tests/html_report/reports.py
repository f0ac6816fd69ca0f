"""Reports made up for the page: any number of layers, any names, any verdict."""

from __future__ import annotations

import numpy as np

from deployq.verifier.layer_facts import LayerFacts
from deployq.verifier.ranges import BINS, TensorRange
from deployq.verifier.report import Judged, Latency, Limits, Parity, Report, Top1
from deployq.verifier.sqnr import LayerSqnr
from deployq.verifier.tally import LayerRow

LIMITS = Limits(64, 1000, 1)


def names(count: int) -> list[str]:
    """Long names, as networks have them."""
    return [
        f"encoder.stages.{n // 6}.blocks.{n % 6}.attention.output_projection" for n in range(count)
    ]


def report(tensors: list[str], *, wrong: dict[str, int] | None = None) -> Report:
    """A report on these tensors; ``wrong`` names differing codes by tensor."""
    wrong = wrong or {}
    parities = (
        _parity("reference = simulator", Judged.EXACT, tensors, {}),
        _parity("runtime = simulator, end to end", Judged.EXACT, tensors[1:], wrong),
        _parity("file un-optimised ~ reference", Judged.NEAR, tensors, {tensors[-1]: 1}),
    )
    rng = np.random.default_rng(0)
    integer, plain = (tuple(map(float, rng.gamma(20, ms / 20, 100))) for ms in (1.2, 2.1))
    latency = Latency(
        "onnxruntime", 1, 100, float(np.median(integer)), 1.0, 2.0, float(np.median(plain)),
        0.97, ("head",), integer, plain,
    )  # fmt: skip
    accuracy = {"quantizers off": 0.91, "fake-quant": 0.90, "reference": 0.9, "runtime": 0.899}
    floats = (f"{tensors[-1]}: float, the target runs Softmax as float",)
    return Report(
        "int4-npu",
        (),
        parities,
        accuracy,
        512,
        latency,
        floats,
        LIMITS,
        layers=_layers(tensors),
    )


def _parity(name: str, judged: Judged, tensors: list[str], wrong: dict[str, int]) -> Parity:
    rows = tuple(
        LayerRow(t, 10**6, n := wrong.get(t, 0), min(n, 1), 0, 200, 32, ((1, n),) if n else ())
        for t in tensors
    )
    return Parity(name, "c", judged, True, rows, 512, Top1(500, 500, 12))


def _layers(tensors: list[str]) -> LayerFacts:
    sqnr = tuple(
        LayerSqnr(t, 40 - n % 9, 38 - 30 * n / len(tensors), 25.0 + n % 4 if n % 2 else None)
        for n, t in enumerate(tensors)
    )
    bell = np.exp(-(np.linspace(-3, 3, BINS) ** 2))
    counts = tuple(int(10000 * share) for share in bell)
    ranges = [
        TensorRange(
            t, kind, q, codes, (0.1, 0.2), 0, -4.0 - n % 5, 4.0, grid, 0.02 * (n % 2), counts
        )
        for kind, q, codes, grid in (
            ("activation", "u8", (0, 255), (0.0, 5.1)),
            ("weight", "s4", (-7, 7), (-7.0, 7.0)),
        )
        for n, t in enumerate(tensors)
    ]
    return LayerFacts(64, sqnr, tuple(ranges))
