"""Small networks of the tests, and the way from one to a calibrated prepared model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.recipe import Recipe
from deployq_calibration import calibrate_model
from deployq_targets import TargetProfile, load_profile
from deployq_targets.loader import parse_profile

TARGETS = ("int8-npu", "int4-npu", "ort-cpu", "lowbit-vlsi")
ABSORBING = ("int8-npu", "int4-npu", "ort-cpu")


class Net(nn.Module):
    """A network of one expression: ``Net(lambda m, x: m.conv(x), conv=nn.Conv2d(...))``."""

    def __init__(self, body: Callable[[Any, Tensor], Any], **children: Any) -> None:
        super().__init__()
        self.body = body
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


class Masked(Net):
    """One expression of a tensor and a mask."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:  # type: ignore[override] # one more
        return self.body(self, x, mask)


class TwoInputs(nn.Module):
    """Two inputs, two outputs, one shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 3)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        total = F.relu(self.conv(left) + right)
        return total, total * right


class Residual(nn.Module):
    """Depthwise convolution, ReLU6, option-A shortcut, Dropout, mean and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = conv(3, 4), nn.BatchNorm2d(4)
        self.depth, self.depth_norm = conv(4, 4, groups=4, stride=2), nn.BatchNorm2d(4)
        self.wide, self.wide_norm = conv(4, 8), nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.stem_norm(self.stem(x)))
        z = F.relu6(self.depth_norm(self.depth(y)))
        z = self.wide_norm(self.wide(z))
        z = F.relu(z + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        return self.head(self.drop(z.mean((2, 3))))


def conv(inputs: int, outputs: int, size: int = 3, **facts: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **{"bias": False, **facts})


def with_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """BatchNorms as after training: gammas of both signs."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            for parameter in module.parameters():
                parameter.data.normal_(generator=generator)
    return model


def images(count: int = 8, channels: int = 3, size: int = 6, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=generator)


def residual() -> nn.Module:
    torch.manual_seed(0)
    return with_statistics(Residual()).eval()


@cache
def residual_graph() -> fx.GraphModule:
    return capture(residual(), [images(2)])


def residual_for(target: str | TargetProfile, recipe: Recipe | None = None) -> PreparedModel:
    """The residual network, prepared and calibrated."""
    return _calibrate(prepared_for(residual_graph(), target, recipe))  # preparation copies


def graph_of(body: Callable[[Any, Tensor], Any], **children: Any) -> fx.GraphModule:
    torch.manual_seed(0)
    return capture(with_statistics(Net(body, **children)), [images(2)])


def prepared_for(
    graph: fx.GraphModule, target: str | TargetProfile, recipe: Recipe | None = None
) -> PreparedModel:
    profile = load_profile(target) if isinstance(target, str) else target
    return prepare_graph(graph, profile, recipe)


def product(m: Any, x: Tensor) -> Tensor:
    """Of two activations, as attention has it: ``m.a(x)`` with ``m.b(x)``, (N, HW, HW)."""
    found: Tensor = m.a(x).flatten(2).transpose(1, 2) @ m.b(x).flatten(2)
    return found


def calibrated(
    model: nn.Module, target: str | TargetProfile, recipe: Recipe | None = None
) -> PreparedModel:
    return _calibrate(prepared_for(capture(model, [images(2)]), target, recipe))


def _calibrate(prepared: PreparedModel) -> PreparedModel:
    calibrate_model(prepared, lambda: [(images(seed=2),), (images(seed=3),)])
    return prepared


def profile_with(base: str, **changes: Any) -> TargetProfile:
    """A built-in profile with other values: ``activation__zero_point="zero"``."""
    table = load_profile(base).model_dump(mode="json")
    for key, value in changes.items():
        section, _, leaf = key.partition("__")
        table[section][leaf] = value
    return parse_profile(table, "test")


def with_entry(base: str, **entry: Any) -> TargetProfile:
    """A built-in profile whose entry of one operator says something else."""
    table = load_profile(base).model_dump(mode="json")
    table["op"] = [rule for rule in table["op"] if rule["type"] != entry["type"]] + [entry]
    return parse_profile(table, "test")


def counting(**changes: Any) -> TargetProfile:
    """int8-npu with thresholds for its layers, and other values."""
    fixed = {"kind": "fixed", "multiplier_bits": 31}
    by_op = dict.fromkeys(("Add", "Mul", "AveragePool", "GlobalAveragePool"), fixed)
    words = {"kind": "thresholds", "multiplier_bits": None, "by_op": by_op}
    stated = {f"requant__{key}": value for key, value in words.items()}
    return profile_with("int8-npu", **stated, **changes).model_copy(update={"name": "counting"})


def calls_of(graph: fx.GraphModule) -> list[str]:
    """What the graph calls, without reads and outputs: ``conv2d relu FakeQuantize``."""
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_function":
            found.append(str(node.target).removeprefix("aten.").partition(".")[0])
        elif node.op == "call_module":
            found.append(type(graph.get_submodule(str(node.target))).__name__)
    return found


def parts(output: Any) -> tuple[Tensor, ...]:
    """The outputs of a model as a flat tuple."""
    return tuple(t for o in output for t in parts(o)) if isinstance(output, tuple) else (output,)
