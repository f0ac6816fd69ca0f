"""Qualcomm HTP's emulator against the simulator where activations have 16 bits or weights 4."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from benchmarks.qnn_runs import Tally, compare, merged
from benchmarks.sweeps.qdq import qdq_file
from benchmarks.sweeps.sweep import Sweep
from benchmarks.sweeps.unsigned_wide import widths
from deployq.arithmetic.contract import QDQ, Contract
from deployq.data import Dataset
from deployq.errors import InputError, UnsupportedError
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq.qgraph.nodes import Linear
from deployq.simulator import run_graph
from deployq.simulator.operators import finish
from deployq_exporters.dialects.dialect import translate
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.golden.plans import plan
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.runtimes.qnn_htp import installed
from deployq_targets import load_profile
from deployq_targets.words import Edges
from tests.graph.networks import Net, calibrated, conv, images

htp = pytest.mark.skipif(not installed(), reason="needs deployq[qnn]")
CONTRACT = load_profile("qnn-htp").contract()
SEEN = {
    "Conv s8 u16", "Conv s4 u16", "Conv_grouped s4 u8", "Gemm s8 u16", "Gemm s4 u8", "Add  u16",
    "GlobalAveragePool  u16",
}  # fmt: skip


WIDE, CONTRACTS = Recipe(activation_bits=16), {"htp": CONTRACT, "real": QDQ}


def _kind(sweep: Sweep) -> str:
    (node,) = sweep.graph.nodes
    weight = node.weight_qparams.qtype.name if isinstance(node, Linear) else ""
    return f"{node.form_name} {weight} {sweep.graph.qparams[node.inputs[0]].qtype.name}"


def _tallies(sweep: Sweep, contract: Contract) -> list[Tally]:
    inputs = {name: codes[:2] for name, codes in sweep.inputs.items()}
    return list(compare(qdq_file(sweep), contract, inputs).values())


@htp
def test_layers_of_other_widths_have_the_codes_of_htp() -> None:
    found = defaultdict[str, list[Tally]](list)
    for sweep in islice(widths(), 0, None, 17):
        with suppress(InputError):  # shapes that the provider has no kernel for
            found[_kind(sweep)] += [replace(t, operator="") for t in _tallies(sweep, CONTRACT)]
    tallies = {kind: merged(each)[0] for kind, each in found.items() if each}
    assert {kind for kind, tally in tallies.items() if tally.codes} >= SEEN
    assert {kind: t.different for kind, t in tallies.items() if t.different} == {}


@htp
def test_bits_are_cut_from_the_raw_sum() -> None:
    wide = CONTRACT.for_codes(16)
    whole = replace(wide.form("Conv"), sum_cut=0)
    other = replace(CONTRACT, by_op={**CONTRACT.by_op, "Conv_wide": whole})
    sweep = next(s for s in widths() if _kind(s) == "Conv s8 u16")
    assert sum(t.different for t in _tallies(sweep, CONTRACT)) == 0
    assert sum(t.different for t in _tallies(sweep, other)) > 1000


def test_forms_of_wide_codes_stand_in_for_the_others() -> None:
    wide = CONTRACT.for_codes(16)
    assert CONTRACT.for_codes(8) is CONTRACT
    assert (CONTRACT.form("Conv").code_bits, wide.form("Conv").code_bits) == (8, 16)
    assert wide.form("Mul") == CONTRACT.form("Mul")  # which is not known for them
    unstated = replace(CONTRACT, by_op={"Conv": CONTRACT.form("Conv")})
    assert unstated.for_codes(16) is unstated


def test_operators_that_are_not_known_for_16_bits_are_refused() -> None:
    sweep = next(s for s in widths() if _kind(s) == "Add  u16")
    (node,) = sweep.graph.nodes
    graph = replace(sweep.graph, nodes=(replace(node, op_type="Mul"),))
    with pytest.raises(UnsupportedError, match="products of unsigned bytes"):
        run_graph(graph, CONTRACT, dict(sweep.inputs))


def test_a_finished_sum_has_lost_the_bits_that_are_cut() -> None:
    sweep = next(s for s in widths() if _kind(s) == "Conv s8 u16")
    (node,) = sweep.graph.nodes
    assert isinstance(node, Linear)
    scales = np.float32(1), node.weight_qparams.scale
    acc = torch.zeros((1, len(node.weight), 1, 1), dtype=torch.int64)
    with pytest.raises(UnsupportedError, match="bits that are cut") as caught:
        finish(node, acc, scales, 1, sweep.graph.qparams[node.output], CONTRACT.for_codes(16))
    assert caught.value.found == "sum_cut = 8"
    form, grids = CONTRACT.for_codes(16).form("Conv"), sweep.graph.qparams
    with pytest.raises(UnsupportedError, match="whole sums") as caught:
        plan(node, (grids["x"],), grids["y"], form, ((1,), (1,)))
    assert caught.value.found == "sum_cut = 8"


def test_the_reference_cuts_the_bits_that_the_simulator_cuts() -> None:
    prepared = calibrated(Net(lambda m, x: m.conv(x), conv=conv(3, 4)), "qnn-htp", WIDE)
    graph, x = read_graph(to_proto(lower(prepared, prepared.profile))), images(64)
    codes = {name: evaluate_codes(prepared, each, x)["conv"] for name, each in CONTRACTS.items()}
    simulated = run_graph(graph, CONTRACT, {"x": x.numpy()}).codes["conv.codes"]
    assert torch.equal(codes["htp"].long(), simulated.long())
    assert not torch.equal(codes["htp"], codes["real"])


@htp
@pytest.mark.parametrize(("weights", "activations"), [(4, 8), (8, 16), (4, 16)])
def test_a_network_of_other_widths_has_the_codes_of_htp(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset, weights: int, activations: int
) -> None:
    recipe = Recipe(weight_bits=weights, activation_bits=activations)
    prepared = make_prepared("qnn-htp", recipe, ())
    model = translate(to_proto(lower(prepared, prepared.profile, Edges.FLOAT)), QNN)
    fed = feed(read_graph(model), {"x": unseen.inputs["x"][:4]})
    tallies = compare(model, CONTRACT, fed)
    assert all(tally.codes for tally in tallies.values())
    assert {name: tally.largest for name, tally in tallies.items() if tally.different} == {}
    operators = {tally.operator for tally in tallies.values()}
    assert any(f"a{activations}" in name for name in operators) is (activations != 8)
    assert any(f"w{weights}" in name for name in operators) is (weights != 8)
