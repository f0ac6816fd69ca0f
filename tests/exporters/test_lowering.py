"""The canonical file: types, names, bias rule, no trace of the build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from deployq import pipeline
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq_exporters.dialects import translate
from deployq_exporters.dialects.onnxruntime import ONNXRUNTIME
from deployq_exporters.lowering import lower, to_proto
from tests.exporters.graphs import run
from tests.graph.networks import Net, calibrated, conv, images, profile_with, residual_for

Make = Callable[..., PreparedModel]


def canonical(prepared: PreparedModel) -> onnx.ModelProto:
    model = to_proto(lower(prepared, prepared.profile))
    onnx.checker.check_model(model, full_check=True)
    return model


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_bias_scale_is_bit_equal_to_the_product(make_prepared: Make) -> None:
    model = canonical(make_prepared("int4-npu"))
    values = arrays(model)
    product = values["x.scale"] * values["stem.weight.scale"]
    np.testing.assert_array_equal(values["stem.bias.scale"], product)
    assert values["stem.bias.codes"].dtype == np.int32


def test_parameters_have_rank_0_and_zero_points_are_present(make_prepared: Make) -> None:
    model = canonical(make_prepared("ort-cpu"))
    values = arrays(model)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert len(node.input) == 3
            assert values[node.input[1]].shape == values[node.input[2]].shape == ()


def test_names_lead_back_to_the_modules(make_prepared: Make) -> None:
    model = canonical(make_prepared("int8-npu"))
    names = {node.name: node.op_type for node in model.graph.node}
    assert names["block1.depthwise"] == "Conv" and names["block2.add"] == "Add"
    assert names["head"] == "Gemm" and [o.name for o in model.graph.output] == ["head"]
    assert names["adaptive_avg_pool2d"] == "GlobalAveragePool"


def test_no_trace_of_the_build_is_left(make_prepared: Make) -> None:
    model = canonical(make_prepared("int4-npu"))
    text = model.SerializeToString()
    assert not model.metadata_props and not model.doc_string
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)
    assert b".py" not in text and b"pkg.torch" not in text
    assert {o.domain for o in model.opset_import} == {""}


@pytest.mark.parametrize(
    ("recipe", "element", "opset"),
    [
        (Recipe(weight_bits=2), "INT2", 25),
        (Recipe(weight_bits=4), "INT4", 25),
        (Recipe(weight_bits=3), "INT4", 25),
        (Recipe(weight_bits=8), "INT8", 25),
    ],
    ids=["2", "4", "3 in 4", "8"],
)
def test_codes_have_their_own_type(
    make_prepared: Make, recipe: Recipe, element: str, opset: int
) -> None:
    model = canonical(make_prepared("lowbit-vlsi", recipe))
    (codes,) = [t for t in model.graph.initializer if t.name == "stem.weight.codes"]
    assert codes.data_type == getattr(onnx.TensorProto, element)
    assert model.opset_import[0].version == opset


def test_odd_activation_widths_state_their_range(make_prepared: Make) -> None:
    model = canonical(make_prepared("lowbit-vlsi", Recipe(activation_bits=3)))
    values = arrays(model)
    assert values["stem.zero_point"].dtype.name == "uint4"
    np.testing.assert_array_equal(values["stem.high"], np.float32(7) * values["stem.scale"])


def test_batch_is_dynamic(make_prepared: Make) -> None:
    model = canonical(make_prepared("int4-npu"))
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_pool_of_maps_whose_channels_came_last_is_a_pool() -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        x = m.conv(x).permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2)
        return m.head(F.adaptive_avg_pool2d(x, 1))

    net = Net(body, conv=conv(3, 4), head=conv(4, 2))
    model = canonical(calibrated(net.eval(), "ort-cpu"))
    kinds = {node.op_type for node in model.graph.node}
    assert "GlobalAveragePool" in kinds and not kinds & {"Gather", "Range", "ReduceMean"}


@pytest.mark.parametrize("way", [{"size": (9, 4)}, {"scale_factor": (2, 1.5)}], ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("aligned", [False, True])
def test_pictures_are_interpolated_in_float(mode: str, aligned: bool, way: dict[str, Any]) -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        wide = F.interpolate(m.conv(x), mode=mode, align_corners=aligned, **way)
        return cast(Tensor, m.head(wide))

    prepared = calibrated(Net(body, conv=conv(3, 4), head=conv(4, 2)).eval(), "ort-cpu")
    x = images(3, seed=5)
    found = pipeline.simulate(canonical(prepared), {"x": x.numpy()}, prepared.profile)
    (output,) = found.outputs.values()
    step = float(prepared.quantizers()["head"].scale)
    # a picture of reals on the edge of two codes may fall on either side: one step of the output
    torch.testing.assert_close(
        torch.from_numpy(output), prepared.module(x).detach(), rtol=0, atol=1.01 * step
    )


@pytest.mark.parametrize(
    "way", [{"size": (9, 4)}, {"size": (11, 13)}, {"scale_factor": 2}], ids=str
)
def test_a_picture_between_convolutions_keeps_its_size_where_channels_lie_last(
    way: dict[str, Any],
) -> None:
    def body(m: Net, x: Tensor) -> Tensor:
        return cast(Tensor, m.head(F.interpolate(m.conv(x), mode="bilinear", **way)))

    prepared = calibrated(Net(body, conv=conv(3, 4), head=conv(4, 2)).eval(), "ort-cpu")
    model = translate(canonical(prepared), ONNXRUNTIME)
    x = images(3, seed=5)
    found = run(model, x.numpy(), optimised=True)
    np.testing.assert_array_equal(found, run(model, x.numpy()))
    assert found.shape == tuple(prepared.module(x).shape)


def test_codes_under_eight_bits_in_bytes_where_the_target_holds_no_others() -> None:
    profile = profile_with(
        "lowbit-vlsi", container__subbyte="widened", container__int_types=["s8", "u8", "s32"]
    )
    prepared = residual_for("lowbit-vlsi")
    models = [to_proto(lower(prepared, target)) for target in (prepared.profile, profile)]
    narrow, wide = ({t.data_type for t in model.graph.initializer} for model in models)
    types = onnx.TensorProto
    under_eight = {types.INT4, types.UINT4, types.INT2, types.UINT2}
    assert under_eight & narrow and not under_eight & wide
    x = {"x": images(4).numpy()}
    runs = [pipeline.simulate(model, x, prepared.profile).codes for model in models]
    assert len(runs[0]) > 4
    for name, codes in runs[0].items():
        assert np.array_equal(codes, runs[1][name])
