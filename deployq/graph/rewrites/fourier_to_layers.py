"""The real part of a Fourier transform over the two last axes becomes four layers and a sum.

    Re(F_T x F_C) = C_T x C_C - S_T x S_C        C_n[j, k] = cos(2 pi j k / n), S_n with the sine

Cooley and Tukey's definition, without their short cut: the lengths here are those of a text and a
channel. Constant matrices are weights, so the transform runs in integers. FNet mixes tokens so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn

from deployq.graph.rewrites.build import aten, build, new_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.real.default) or not calls(node.args[0], aten.fft_fftn.default):
        return False
    transform = node.all_input_nodes[0]
    x = transform.all_input_nodes[0].meta["val"]
    plain = argument(transform, 1, "s") is None and argument(transform, 3, "norm") is None
    axes = sorted(axis % x.ndim for axis in argument(transform, 2, "dim") or ())
    known = all(isinstance(size, int) for size in x.shape[-2:])
    return plain and known and x.ndim == 3 and axes == [1, 2] and len(transform.users) == 1


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    transform = node.all_input_nodes[0]
    x = transform.all_input_nodes[0]
    length, width = (int(size) for size in x.meta["val"].shape[1:])
    parts = []
    for name, sign in (("cosine", 1.0), ("sine", -1.0)):
        rows = _layer(module, node, x, name, _matrix(name, width))
        turned = build(node, aten.transpose.int, rows, 1, 2)
        columns = _layer(module, node, turned, f"{name}_tokens", sign * _matrix(name, length))
        parts.append(build(node, aten.transpose.int, columns, 1, 2))
    with node.graph.inserting_before(node):
        total = node.graph.call_function(aten.add.Tensor, tuple(parts))
    substitute(node, total)
    node.graph.erase_node(transform)


def _matrix(name: str, size: int) -> Tensor:
    numbers = torch.arange(size, dtype=torch.float64)
    angles = torch.outer(numbers, numbers) % size * (2 * math.pi / size)
    return (angles.cos() if name == "cosine" else angles.sin()).float()


def _layer(module: fx.GraphModule, node: fx.Node, x: fx.Node, name: str, weight: Tensor) -> fx.Node:
    fixed = nn.Parameter(weight, requires_grad=False)  # no training makes another transform of it
    read = new_tensor(module, node, f"{node.name}_{name}", fixed)
    with node.graph.inserting_before(node):
        layer = node.graph.call_function(aten.linear.default, (x, read))
    layer.meta = {**node.meta, "val": x.meta["val"], "part": name}  # square: of x's shape
    return layer


RULE = Rewrite("Fourier to layers", match, rewrite)
