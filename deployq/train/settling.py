"""Scales come to rest on what the target has, before the last phase of training."""

from __future__ import annotations

from deployq.graph.finished import check_calibrated
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.weight_lattice import set_weight_grid
from deployq.train.scales import learn_scales


def settle_scales(prepared: PreparedModel) -> None:
    """Put every scale on the contract's lattice and stop its learning, in place.

    Activation scales that learned as powers of two are such already; others stay as they are.
    Weight scales follow them onto the multipliers ``s_x s_w / s_y`` that the contract has: powers
    of two, short mantissas, one shift for a layer. Of the two neighbours, that with the lower
    squared error of the present weight is taken, and none whose bias would leave its type.

    Weights, biases and BatchNorms go on training on grids that no longer move, so the integers
    that are trained are those that are deployed. Where every scale can be deployed, scales stop
    and do not move.

    Args:
        prepared: a calibrated model.

    Raises:
        InputError: a scale that nobody chose.
        QuantizationError: scales that the contract's multiplier cannot express.
    """
    learn_scales(prepared, activations=False, weights=False)
    for call in linear_calls(prepared):
        quantizer = call.unit.weight_quantizer
        check_calibrated(f"{call.name}.weight", quantizer)
        scale = quantizer.effective_scale().detach().cpu()
        set_weight_grid(prepared, call, (scale, quantizer.zero_point.cpu()))
