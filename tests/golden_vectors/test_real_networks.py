"""Real networks: every layer recomputed in C from the packed weights, 0 codes different."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import deployq
from benchmarks.models.registry import MODELS
from benchmarks.zoo import DATA
from deployq import pipeline
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.lowering import lower, to_proto
from tests.golden_vectors.programs import built, needs_gcc, ran

pytestmark = [
    needs_gcc,
    pytest.mark.skipif(not (DATA / "models").is_dir(), reason=f"no real data in {DATA}"),
]


@pytest.mark.parametrize(
    ("name", "target", "layers"),
    [("cifar10_mlperf_resnet8", "int8-npu", 15), ("kws_mlperf_dscnn", "ort-cpu", 12)],
)
def test_a_network_in_c(name: str, target: str, layers: int, tmp_path: Path) -> None:
    spec = MODELS[name]
    data = spec.calibration().take(4)
    prepared = pipeline.prepare(spec.load(), [spec.example()], target)
    pipeline.calibrate(prepared, data, CalibrationSettings(activations="minmax", corrections=()))
    model = to_proto(lower(prepared, prepared.profile))
    inputs = {name: data.inputs[name] for name in prepared.inputs}
    made = deployq.export_golden(model, tmp_path / "golden", target, inputs, samples=2)
    assert len(made.facts["golden"]["layers"]) == layers  # type: ignore[index,call-overload,arg-type] # JSON
    code, text = ran(built(tmp_path / "golden/c/golden.c", tmp_path / "program"))
    found = re.fullmatch(r"\d+ runs, (\d+) codes and (\d+) sums equal\n", text)
    assert code == 0 and found is not None
    assert int(found[1]) > 100_000 and int(found[2]) > 10_000
