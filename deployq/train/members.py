"""Which tensors of a prepared network are in the ball (released code of SAQ: weights through the
quantizer, biases of quantized layers, gains and biases of normalizations; clips by choice)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, fx, nn

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.tensors import read_tensor
from deployq.train.ball import Kind, Member, MovedParameter, QuantizedWeight

NORM_FUNCTIONS = ("aten.layer_norm", "aten.group_norm", "aten.rms_norm")
NORM_MODULES = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def quantized_weights(
    prepared: PreparedModel, *, masked: bool, by_deviation: bool
) -> Iterator[Member]:
    """The weight of every linear layer, behind its quantizer."""
    for call in linear_calls(prepared):
        yield QuantizedWeight(call, masked=masked, by_deviation=by_deviation)


def latent_weights(prepared: PreparedModel, *, by_deviation: bool) -> Iterator[Member]:
    """The float weight of every linear layer, each once."""
    weights = {id(call.weight): Kind.WEIGHTS for call in linear_calls(prepared)}
    return _moved(prepared, weights, by_deviation=by_deviation)


def other_members(prepared: PreparedModel, kinds: Collection[Kind]) -> Iterator[Member]:
    """Biases, normalizations and scales, as far as ``kinds`` names them and they learn."""
    found = {i: kind for i, kind in _others(prepared).items() if kind in kinds}
    return _moved(prepared, found)


def _moved(
    prepared: PreparedModel, kinds: dict[int, Kind], *, by_deviation: bool = False
) -> Iterator[Member]:
    for name, parameter in prepared.module.named_parameters():
        if id(parameter) in kinds and parameter.requires_grad:
            kind = kinds[id(parameter)]
            yield MovedParameter(name, parameter, kind, by_deviation=by_deviation)


def _others(prepared: PreparedModel) -> dict[int, Kind]:
    """Kind of each parameter that is no weight, by identity."""
    kinds: dict[int, Kind] = {}
    for call in linear_calls(prepared):
        kinds.update(_of_layer(call))
    for module in prepared.module.modules():
        if isinstance(module, NORM_MODULES):
            kinds.update({id(p): Kind.NORMS for p in module.parameters()})
        elif isinstance(module, FakeQuantize):
            kinds.update({id(p): Kind.SCALES for p in module.parameters()})
    for node in prepared.module.graph.nodes:
        if str(node.target).startswith(NORM_FUNCTIONS):
            kinds.update({id(t): Kind.NORMS for t in _parameters(prepared.module, node)})
    return kinds


def _of_layer(call: LinearCall) -> Iterator[tuple[int, Kind]]:
    bias, *norm = call.rest or (None,)
    if bias is not None:
        yield id(bias), Kind.BIASES
    yield from ((id(tensor), Kind.NORMS) for tensor in norm if tensor is not None)


def _parameters(module: fx.GraphModule, node: fx.Node) -> Iterator[Tensor]:
    for source in node.all_input_nodes:
        if source.op == "get_attr":
            yield read_tensor(module, source)
