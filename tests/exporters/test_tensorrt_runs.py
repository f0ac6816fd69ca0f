"""Engines of TensorRT on a pretended device: fed, timed and refused as the real interface says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.npz import load_arrays
from deployq.runtimes import worker
from deployq.runtimes.job import OUTPUTS, Job, Result
from deployq.runtimes.source import source_of
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import Load, Source
from deployq_exporters.adapters import tensorrt as adapter
from deployq_exporters.adapters.tensorrt import ADAPTER
from deployq_exporters.runtimes import tensorrt
from deployq_exporters.runtimes.tensorrt import Engine
from deployq_exporters.runtimes.tensorrt_session import Session
from tests.exporters import pretend_tensorrt
from tests.exporters.graphs import run
from tests.exporters.pretend_tensorrt import ELAPSED, MOST

SAMPLES = 5
Bundles = Callable[[str], Path]


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pretend_tensorrt.use(monkeypatch)
    yield
    tensorrt.find_package.cache_clear()
    tensorrt.package_log.cache_clear()


@pytest.fixture(scope="module")
def source(bundles: Bundles) -> Source:
    return source_of(Evidence(bundles("tensorrt")))


@pytest.fixture(scope="module")
def content(source: Source) -> bytes:
    return ADAPTER.write(source)


@pytest.fixture(scope="module")
def wanted(content: bytes, unseen: Dataset) -> np.ndarray:
    (images,) = unseen.take(SAMPLES).inputs.values()
    return run(onnx.load_from_string(content), images)


def test_a_plan_runs_in_batches_that_it_was_built_for(
    source: Source, content: bytes, unseen: Dataset, wanted: np.ndarray
) -> None:
    assert ADAPTER.computes()
    loaded = ADAPTER.load(source, content, Load(compiled=content))
    answer = loaded.run(unseen.take(SAMPLES).inputs)
    np.testing.assert_array_equal(next(iter(answer.outputs.values())), wanted)
    assert answer.elapsed_ms == ELAPSED * -(-SAMPLES // MOST)
    assert loaded.floats == loaded.float_products == ()
    assert loaded.facts["run_by"] == "tensorrt_rtx 1.7"


def test_an_engine_of_one_size_says_how_many_samples_it_takes(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Session(content).most_samples == MOST
    fixed = lambda engine, name: (3, *engine.values[name].shape[1:])  # noqa: E731
    monkeypatch.setattr(pretend_tensorrt.Engine, "get_tensor_shape", fixed)
    assert Session(content).most_samples == 3


def test_an_inspector_that_knows_names_alone_says_nothing_of_types(
    source: Source, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = '{"Layers": ["conv", "gemm"]}'
    monkeypatch.setattr(pretend_tensorrt.Engine, "get_engine_information", lambda *_: names)
    assert ADAPTER.load(source, content, Load(compiled=content)).floats is None


def test_the_matrix_has_its_outputs_and_the_time_of_its_events(
    bundles: Bundles, unseen: Dataset, wanted: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        adapter, "build_engine", lambda model: Engine(model.SerializeToString(), "", (), ())
    )
    monkeypatch.setattr(worker, "require", lambda adapter: "1.7")
    job = Job(ADAPTER.name, str(bundles("tensorrt")), batch=4, inner=0, runs=3)
    job.write(tmp_path, unseen.take(SAMPLES).inputs)
    worker.main(tmp_path)
    result = Result.read(tmp_path)
    assert (result.refused, result.ran, result.floats) == ({}, True, ())
    assert result.times_ms == (ELAPSED,) * 3 and len(result.yardstick_ms) == 3
    np.testing.assert_array_equal(next(iter(load_arrays(tmp_path / OUTPUTS).values())), wanted)


def test_refusals_have_the_words_of_the_package(
    content: bytes, unseen: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="opens it on this device\\n  found: stale plan"):
        Session(b"another version")
    session, inputs = Session(content), unseen.take(MOST + 1).inputs
    with pytest.raises(InputError, match="x has 3 samples") as no:
        session.run(inputs)
    assert (no.value.where, no.value.allowed) == (
        f"input {next(iter(inputs))}",
        "batches of at most 2",
    )
    for given, found in ({name: array[:1].astype(np.float64) for name, array in inputs.items()},
                         "float64"), ({}, "nothing"):  # fmt: skip
        with pytest.raises(InputError, match=f"of its own type\n  found: {found}\n  allowed: flo"):
            session.run(given)
    monkeypatch.setattr(pretend_tensorrt.Engine, "broken", True)
    with pytest.raises(InputError, match="out of memory"):
        session.run(unseen.take(1).inputs)
