"""Comparisons of codes on bundles small enough to break by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.code_operators import Codes
from deployq.graph.codes import Evaluation
from deployq.graph.preparation import PreparedModel
from deployq.qgraph.edges import output_codes
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.verifier import evidence as evidence_module
from deployq.verifier.classes import class_codes_when_fed
from deployq.verifier.evidence import Evidence
from deployq.verifier.parity import (
    float_layers_against_reference,
    float_run_against_reference,
    reference_against_simulator,
    runtime_against_reference,
    runtime_against_simulator,
)
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.runtimes.onnxruntime import Placement
from deployq_exporters.runtimes.placement import float_tensors

FEW = Limits(min_images=1, min_codes=1, min_distinct=1)


def silent(step: str) -> None:
    pass


def exported(prepared: PreparedModel, data: Dataset, path: Path) -> Evidence:
    pipeline.export(prepared, path, data)
    return Evidence(path)


def test_a_run_under_another_contract_is_seen(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset, tmp_path: Path
) -> None:
    """ONNX Runtime's Add rounds ties elsewhere than real arithmetic: the comparison must tell."""
    prepared = make_prepared("ort-cpu")
    with torch.no_grad():  # powers of two: every other sum of codes is a tie
        for quantizer in prepared.quantizers().values():
            quantizer.scale.copy_(torch.exp2(torch.round(torch.log2(quantizer.scale))))
    evidence = exported(prepared, unseen, tmp_path / "b")
    session = evidence.runtime_session(probes=True)
    ours = runtime_against_simulator(evidence, session, [unseen], silent)
    evidence.runtime_contract = QDQ
    other = runtime_against_simulator(evidence, session, [unseen], silent)
    assert [p.different for p in ours] == [0, 0]
    assert other[0].different > 0 and other[0].misses()


def test_layers_left_in_float_are_held_to_law_12b(
    bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    """The canonical W4A8 file runs in float even at the default level."""
    evidence = Evidence(bundles("int4-npu"))
    evidence.runtime_file, evidence.runtime_graph = evidence.canonical, evidence.graph
    # between float layers ONNX Runtime leaves signed codes signed
    form = replace(evidence.runtime_contract.default, s8_as_u8=False)
    evidence.runtime_contract = replace(evidence.runtime_contract, default=form)
    session = evidence.runtime_session(probes=True)
    near = float_layers_against_reference(evidence, session, [unseen], silent)
    assert near is not None and near.judged is Judged.NEAR and near.misses() == []
    assert "stem" in {row.tensor for row in near.layers}
    (layers,) = runtime_against_simulator(evidence, session, [unseen], silent)
    assert "stem" not in {row.tensor for row in layers.layers}
    assert layers.different == 0
    classes = runtime_against_reference(evidence, session, [unseen], silent)
    assert classes.judged is Judged.TOP1 and classes.top1 is not None and classes.top1.decided > 300


def test_a_float_layer_far_from_a_tie_is_a_miss(
    bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    evidence = Evidence(bundles("int4-npu"))
    for tensor in evidence.canonical.graph.initializer:
        if tensor.name == "head.bias.codes":
            codes = onnx.numpy_helper.to_array(tensor) + np.int32(500)
            tensor.CopyFrom(onnx.numpy_helper.from_array(codes, tensor.name))
    session = evidence.float_session(probes=True)
    (miss, *_) = float_run_against_reference(evidence, session, [unseen], silent).misses()
    assert "head: " in miss and "far from a tie" in miss and " 0 of them far" not in miss


def test_reference_equals_simulator_and_float_run_is_near(
    bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    evidence = Evidence(bundles("int4-npu"))
    (exact,) = reference_against_simulator(evidence, unseen.batches(100), silent)
    session = evidence.float_session(probes=True)
    near = float_run_against_reference(evidence, session, unseen.batches(100), silent)
    assert exact.different == 0 and exact.images == len(unseen)
    assert exact.top1 is not None and exact.top1.decided > 400
    assert near.misses() == [] and near.compared == exact.compared - 10 * len(unseen)


def test_probes_do_not_change_placement(bundles: Callable[[str], Path]) -> None:
    """Reading inner codes must leave the kernels that a deployed file gets."""
    evidence = Evidence(bundles("int4-npu"))
    sessions = [evidence.runtime_session(probes=probes) for probes in (True, False)]
    for session in sessions:
        assert float_tensors(evidence.runtime_graph, session.placement) == {}
    x = {"x": np.zeros((2, 1, 8, 8), np.float32)}
    first, second = (session.run(x)[0]["head"] for session in sessions)
    np.testing.assert_array_equal(first, second)


def test_a_layer_that_the_runtime_lost_is_no_silent_float(bundles: Callable[[str], Path]) -> None:
    graph = Evidence(bundles("int4-npu")).runtime_graph
    with pytest.raises(InputError, match="keeps the names of the layers"):
        float_tensors(graph, Placement({}))


class Maps(nn.Module):
    """Ends in movement: convolution, pool, flatten; and a second output of rank 4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.relu(self.conv(x))
        return y.mean((2, 3)), functional.max_pool2d(y, 2)


def test_a_network_that_ends_in_movement_has_classes_and_all_outputs(
    unseen: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    prepared = pipeline.prepare(Maps(), [torch.zeros(2, 1, 8, 8)], "int4-npu")
    pipeline.calibrate(prepared, unseen, CalibrationSettings(corrections=()))
    assert unseen.labels is not None
    data = replace(unseen, labels=unseen.labels % 6)
    evidence = exported(prepared, data, tmp_path / "b")
    report = pipeline.verify(evidence, data, limits=FEW, latency_runs=1)
    assert report.misses() == [] and set(report.accuracy) >= {"reference", "runtime"}
    rows = {row.tensor for row in report.parities[0].layers}
    assert {f"output {name}" for name in evidence.graph.outputs} <= rows
    assert all(p.top1 is not None for p in report.parities if p.whole and "layer" not in p.name)
    assert len(output_codes(evidence.graph)) == 2


def test_labels_of_no_class_are_refused(bundles: Callable[[str], Path], unseen: Dataset) -> None:
    assert unseen.labels is not None
    wrong = replace(unseen, labels=unseen.labels + 100)
    with pytest.raises(InputError, match="class numbers"):
        pipeline.verify(bundles("int4-npu"), wrong, limits=FEW, latency_runs=1)


def test_data_of_another_shape_is_refused(bundles: Callable[[str], Path]) -> None:
    data = Dataset({"x": np.zeros((2, 1, 9, 8), np.float32)})
    with pytest.raises(InputError, match="x"):
        pipeline.verify(bundles("int4-npu"), data, limits=FEW, latency_runs=1)


def test_what_explains_a_class_is_the_tensor_that_left_the_network() -> None:
    one, other = torch.tensor([[[4]], [[7]]]), torch.tensor([[1], [2]])
    fed = Evaluation(
        {"head": one + 1, "aside": other},
        {},
        (Codes(one, QParams(QType(8, True), np.float32(1.0))),),
    )
    own = {"head": one, "aside": other}
    found = one.reshape(2, 1).numpy() + 128
    explained = class_codes_when_fed(fed, own, found)
    assert explained is not None and explained.tolist() == [[5], [8]]
    assert class_codes_when_fed(fed, own, found[::-1]) is None


def test_a_network_of_many_codes_is_compared_a_few_samples_at_a_time(
    bundles: Callable[[str], Path], unseen: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Evidence(bundles("int4-npu"))
    whole = pipeline.verify(opened, unseen, limits=FEW, latency_runs=1)
    each = sum(v[:1].size for name, v in opened.golden.items() if name.startswith("codes/"))
    monkeypatch.setattr(evidence_module, "MOST_CODES", 5 * each)
    assert opened.batch == 5
    parts = pipeline.verify(opened, unseen, limits=FEW, latency_runs=1)
    assert [p.compared for p in parts.parities] == [p.compared for p in whole.parities]
    assert parts.exit_code == 0
