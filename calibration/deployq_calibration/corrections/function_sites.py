"""Functions in float that fully connected layers read: where a factor a channel may stand."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from deployq.graph.channel_factors import applies_factors, has_factors, insert_factors
from deployq.graph.fake_quantize import FakeQuantize, is_quantizer
from deployq.graph.layer_placement import count_reads
from deployq.graph.operators import UNARY, clamp_bounds, onnx_type
from deployq.graph.preparation import PreparedModel
from deployq.graph.tensors import read_tensor
from deployq_calibration.corrections.blocks import linear_nodes, unit_of
from deployq_calibration.corrections.smoothing import linear_readers
from deployq_calibration.observers import make_observer
from deployq_calibration.weights import weight_qparams
from deployq_targets import TargetProfile
from deployq_targets.words import OpStatus


@dataclass(frozen=True)
class FunctionSite:
    """A function in float that only fully connected layers read.

    Args:
        node: of the function.
        name: of its output.
        quantizer: behind it.
        layers: weight, (O, C), and weight quantizer of each reader.
    """

    node: fx.Node
    name: str
    quantizer: FakeQuantize
    layers: tuple[tuple[Tensor, FakeQuantize], ...]

    def columns(self) -> Tensor:
        """Largest magnitude of each column, over all readers, (C,)."""
        return torch.stack([w.detach().abs().amax(0) for w, _ in self.layers]).amax(0)

    @torch.no_grad()
    def error(self, rows: Tensor, factors: Tensor) -> float:
        """Squared error over square of a reader's output, of the median row, on both grids.

        Args:
            rows: what the function made, (R, C).
            factors: that divide them, (C,).
        """
        scaled = rows / factors
        read, figures = _on_grid(self.quantizer, scaled), []
        for weight, quantizer in self.layers:
            columns = weight * factors
            own = copy.deepcopy(quantizer)
            own.set_qparams(*weight_qparams(columns, own, "mse"))
            wanted = rows @ weight.T
            lost, power = (read @ own(columns).T - wanted).square().sum(1), wanted.square().sum(1)
            figures.append((lost / power)[power > 0])
        every = torch.cat(figures)
        return float(every.median()) if len(every) else 0.0

    @torch.no_grad()
    def divide(self, module: fx.GraphModule, factors: Tensor) -> None:
        """Insert the product, and multiply the columns that read it."""
        insert_factors(module, self.node, 1.0 / factors)
        for weight, _ in self.layers:
            weight.mul_(factors)


def _on_grid(quantizer: FakeQuantize, values: Tensor) -> Tensor:
    own, observer = copy.deepcopy(quantizer), make_observer("mse")
    observer.observe(values)
    own.set_qparams(*observer.qparams(own))
    reals: Tensor = own(values)
    return reals


def find_functions(prepared: PreparedModel) -> tuple[list[FunctionSite], dict[str, str]]:
    """The functions that fully connected layers read, and why others of them stay, by name."""
    module, profile = prepared.module, prepared.profile
    reads = count_reads(module)
    sites, skipped = list[FunctionSite](), dict[str, str]()
    for node in module.graph.nodes:
        quantizers = list(_quantizers(module, node))
        if not any(_reads(module, quantizer) for quantizer in quantizers):
            continue
        name, readers = str(node.meta["name"]), linear_readers(module, node)
        weights = [read_tensor(module, reader.args[1]) for reader in readers]
        if has_factors(node):
            skipped[name] = "it has factors"
        elif not _multiplies_in_float(profile, onnx_type(module, node)):
            skipped[name] = f"{profile.name} has it on codes, or no product in float"
        elif not readers:
            skipped[name] = "not only fully connected layers read it"
        elif any(reads[id(weight)] > 1 for weight in weights):
            skipped[name] = "a weight is read twice"
        else:
            grids = [unit_of(module, reader).weight_quantizer for reader in readers]
            grid = module.get_submodule(str(quantizers[0].target))
            assert isinstance(grid, FakeQuantize)
            sites.append(FunctionSite(node, name, grid, tuple(zip(weights, grids, strict=True))))
    return sites, skipped


def _quantizers(module: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Those behind a function of one value, or behind its factors; clamps are no functions here."""
    if node.op != "call_function" or node.target not in UNARY or clamp_bounds(node) is not None:
        return
    for user in node.users:
        readers = list(user.users) if applies_factors(user) else [user]
        yield from (reader for reader in readers if is_quantizer(module, reader))


def _reads(module: fx.GraphModule, quantizer: fx.Node) -> bool:
    """A fully connected layer reads the codes."""
    layers = linear_nodes(module, list(quantizer.users))
    return any(unit_of(module, layer).op_type == "Gemm" for layer in layers)


def _multiplies_in_float(profile: TargetProfile, operator: str) -> bool:
    """The target runs the function in float, and then a product of reals beside it."""
    has_product = profile.op_status("Mul") is not OpStatus.UNSUPPORTED
    return profile.op_status(operator).computes_in_float and has_product
