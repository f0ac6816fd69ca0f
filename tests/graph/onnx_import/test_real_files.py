"""Third-party files and files that torch writes: same output, then integers to the bit."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import InputError, UnsupportedError
from deployq.graph.codes import evaluate_codes
from deployq.graph.onnx_import import import_onnx
from deployq.models import load_model
from deployq.opened_file import open_file
from deployq.simulator import run_graph
from deployq.verifier.evidence import CODES
from tests.graph.networks import TwoInputs, images, residual
from tests.graph.onnx_import.files import Array, assert_equal, names_of

DATA = Path(os.environ.get("DEPLOYQ_DATA", "../shared/data"))
FILES = DATA / "onnx_thirdparty"
NEEDS_DATA = pytest.mark.skipif(not FILES.is_dir(), reason="needs the third-party files of DATA")
TOLERANCE = 1e-4
"""Of float32 sums through a whole network, which torch and ONNX Runtime order differently."""


def cifar(count: int) -> Array:
    with np.load(DATA / "cifar10" / "cifar10_test8k.npz") as arrays:
        pixels = arrays["x"][:count].astype(np.float32) / 255
    mean, std = (.4914, .4822, .4465), (.2470, .2435, .2616)  # fmt: skip
    scaled = (pixels - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def faces(count: int) -> Array:
    """ImageNet photographs in the size that the face detector takes, (x - 127) / 128."""
    Image = pytest.importorskip("PIL.Image")
    with zipfile.ZipFile(DATA / "imagenet" / "imagenet_calib500_227.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))[:count]
        opened = [Image.open(io.BytesIO(archive.read(row["file"]))) for row in rows]
        pixels = np.stack([np.asarray(image.resize((320, 240))) for image in opened])
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


@NEEDS_DATA
@pytest.mark.parametrize(
    ("file", "samples"),
    [("cifar10_tinymobilenet_float.onnx", cifar), ("ultraface_rfb320_float.onnx", faces)],
)
def test_float_files_compute_what_onnxruntime_computes(
    file: str, samples: Callable[[int], Array]
) -> None:
    assert_equal(FILES / file, samples(3), tolerance=TOLERANCE)


@NEEDS_DATA
@pytest.mark.parametrize("name", ["cifar10_tinymobilenet_qoperator", "mobilenetv2_qdq_perchannel",
                                  "mobilenetv2_qdq_pertensor"])  # fmt: skip
def test_quantized_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"(?s)quantized already.*next: run it with `deployq sim"):
        load_model(str(FILES / f"{name}.onnx"), Path("unused.npz"))


@NEEDS_DATA
def test_a_float_file_becomes_integers_to_the_bit(tmp_path: Path) -> None:
    graph = import_onnx(FILES / "cifar10_tinymobilenet_float.onnx")
    samples = Dataset({"input": cifar(96)})
    prepared = pipeline.calibrate(pipeline.prepare(graph, [], "ort-cpu"), samples)
    assert {"node_Conv_219", "node_linear"} <= {layer.name for layer in prepared.plan.layers}
    pipeline.export(prepared, tmp_path / "bundle", samples)
    opened = open_file(tmp_path / "bundle")
    assert opened.profile is not None
    profile, graph = opened.profile, opened.graph
    fresh = cifar(128)[96:]
    simulated = run_graph(graph, profile.contract(), {"input": fresh}).codes
    reference = evaluate_codes(prepared, profile.contract(), torch.from_numpy(fresh))
    assert len(reference) == len(prepared.plan.tensors) == 17
    for name, codes in reference.items():
        assert torch.equal(codes.long(), simulated[name + CODES].long()), name


def exported(model: nn.Module, shapes: tuple[torch.Tensor, ...], path: Path, free: bool) -> Path:
    dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in shapes) if free else None
    program = torch.onnx.export(
        model.eval(), shapes, dynamo=True, dynamic_shapes=dynamic, verbose=False
    )
    assert program is not None
    program.save(path)
    return path


@pytest.mark.parametrize("free", [True, False])
def test_what_torch_writes_comes_back(free: bool, tmp_path: Path) -> None:
    path = exported(residual(), (images(2 if free else 1),), tmp_path / "net.onnx", free)
    graph = assert_equal(path, images(3).numpy(), tolerance=TOLERANCE)
    assert "node_conv2d" in names_of(graph) or any("onv" in name for name in names_of(graph))


def test_two_inputs_and_two_outputs_come_back(tmp_path: Path) -> None:
    pair = (images(2, seed=1), images(2, seed=2))
    path = exported(TwoInputs(), pair, tmp_path / "net.onnx", True)
    assert_equal(path, images(3, seed=1).numpy(), images(3, seed=2).numpy(), tolerance=TOLERANCE)


def test_a_transformer_layer_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
    x = torch.randn(3, 5, 16)
    path = exported(layer, (x[:2],), tmp_path / "free.onnx", True)
    assert_equal(path, x.numpy(), tolerance=TOLERANCE)
    path = exported(layer, (x[:1],), tmp_path / "one.onnx", False)
    with pytest.raises(UnsupportedError, match=r"(?s)batch.*next: export .* a dynamic batch"):
        import_onnx(path)  # it merges the tokens with the batch behind them
