"""LSQ's first step sizes, computed again from the paper's sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import initialise_scales
from tests.graph.networks import Net, calibrated, conv, images, profile_with
from tests.train.digits import PROFILES, data, prepared_on


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_start_at_twice_their_mean_over_the_root(per_channel: bool) -> None:
    recipe = Recipe(weight_bits=3, layers={"*": LayerRecipe(per_channel=per_channel)})
    net = Net(lambda m, x: m.a(x), a=conv(3, 4))
    prepared = calibrated(net, profile_with("lowbit-vlsi", requant__multiplier_bits=31), recipe)
    initialise_scales(prepared)
    weight = net.a.weight.detach().double().abs()
    mean = weight.mean((1, 2, 3)) if per_channel else weight.mean()
    expected = 2 * mean / 3**0.5  # [-3, 3]
    found = prepared.units()["a"].weight_quantizer.scale
    assert torch.equal(found, expected.float())


def test_activations_start_from_the_float_network_on_a_batch() -> None:
    net = Net(lambda m, x: torch.relu(m.a(x)), a=conv(3, 4)).eval()
    prepared, x = calibrated(net, "int8-npu"), images(4)
    zero_points = {name: int(q.zero_point) for name, q in prepared.quantizers().items()}
    initialise_scales(prepared, "lsq", [x])
    with torch.no_grad():
        behind = net(x).double().abs().mean()
    found = prepared.quantizers()
    # a removed ReLU has 255 codes above zero, an input with a free zero point counts 127
    assert float(found["a"].scale) == pytest.approx(2 * float(behind) / 255**0.5, rel=1e-6)
    expected = 2 * float(x.double().abs().mean()) / 127**0.5
    assert float(found["x"].scale) == pytest.approx(expected, rel=1e-6)
    assert {name: int(q.zero_point) for name, q in found.items()} == zero_points


def test_powers_of_two_start_on_the_lattice() -> None:
    prepared = prepared_on(PROFILES["around-128"]())
    initialise_scales(prepared, batch=[data()[0][:32]])
    modules = [*prepared.quantizers().values()]
    modules += [call.unit.weight_quantizer for call in linear_calls(prepared)]
    assert all((np.frexp(q.qparams().scale)[0] == 0.5).all() for q in modules)


def test_silent_tensors_get_a_scale() -> None:
    net = Net(lambda m, x: m.a(x), a=conv(3, 3)).eval()
    prepared = calibrated(net, "int8-npu")
    net.a.weight.data.zero_()
    prepared.module.get_parameter("a.weight").data.zero_()
    initialise_scales(prepared, batch=[torch.zeros(2, 3, 6, 6)])
    assert all(float(q.scale) == 2.0**-64 for q in prepared.quantizers().values())
    assert (prepared.units()["a"].weight_quantizer.scale == 2.0**-64).all()


def test_other_methods_and_broken_numbers_are_refused() -> None:
    net = Net(lambda m, x: m.a(x), a=conv(3, 3)).eval()
    prepared = calibrated(net, "int8-npu")
    with pytest.raises(InputError, match=r"(?s)method is known.*found: mean.*allowed: lsq.*next"):
        initialise_scales(prepared, "mean")
    with pytest.raises(InputError, match=r"(?s)^x: mean magnitude: .*NaN or infinite.*next"):
        initialise_scales(prepared, batch=[torch.full((2, 3, 6, 6), torch.inf)])
    prepared.module.get_parameter("a.weight").data[0] = torch.nan
    with pytest.raises(InputError, match=r"(?s)^a: weight: .*NaN or infinite.*next"):
        initialise_scales(prepared)
    assert all(q.enabled for q in prepared.quantizers().values())
