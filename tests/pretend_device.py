"""A device that exists in tests alone: tensors that say they are elsewhere, computed here.

It refuses what a GPU refuses, tensors of two devices in one operator, and what a GPU computes
otherwise: a division by a number, which CUDA does through the reciprocal. ``use`` makes it known to
torch for the rest of the process, so tests run it in one of their own.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
ADOPTING = ("aten::_to_copy", "aten::copy_")
"""Operators that take a tensor from one device to another."""
OTHERWISE = {"aten::convolution_overrideable": torch.ops.aten.convolution.default}
RESHAPED = ("aten::view.default", "aten::_unsafe_view.default")
"""A twin may lie in memory otherwise than the tensor says."""


class Elsewhere(torch.Tensor):
    """A tensor of the device; ``held`` is its twin on the processor."""

    held: Tensor

    @classmethod
    def __torch_function__(cls, function: Any, _: Any, args: Any = (), named: Any = None) -> Any:
        """Below autograd, whose copies of integer views would lose the twin."""
        with torch._C.DisableTorchFunctionSubclass(), torch._C._AutoDispatchBelowADInplaceOrView():  # type: ignore[attr-defined]
            return function(*args, **(named or {}))


class Device:
    """What the device did.

    Args:
        rounds: products are rounded as TF32 would: ten bits of mantissa.
    """

    def __init__(self, rounds: bool = False) -> None:
        self.rounds, self.calls = rounds, 0

    def __call__(self, operator: Any, *args: Any, **kwargs: Any) -> Any:
        """Any operator, on the twins."""
        self.calls += 1
        name = operator._schema.name
        if name == "aten::_copy_from":
            _held(args[1]).copy_(_held(args[0]))
            return args[1]
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name not in ADOPTING:
            _check(name, given)
        there, named = pytree.tree_map(_held, (args, kwargs))
        if f"{name}.{operator._overloadname}" in RESHAPED:
            operator = torch.ops.aten.reshape.default
        found = OTHERWISE.get(name, operator)(*self._rounded(name, there), **named)
        twins = {id(leaf.held): leaf for leaf in given if isinstance(leaf, Elsewhere)}
        if name == "aten::_to_copy" and str(kwargs.get("device")) == "cpu":
            return found
        return pytree.tree_map(lambda value: twins.get(id(value), _elsewhere(value)), found)

    def _rounded(self, name: str, args: Any) -> Any:
        if not self.rounds or name not in ("aten::mm", "aten::addmm", "aten::bmm"):
            return args
        return [_tf32(arg) if isinstance(arg, Tensor) else arg for arg in args]


def use(rounds: bool = False) -> Device:
    """Make the device known to torch."""
    module: Any = types.SimpleNamespace(
        is_initialized=lambda: True, is_available=lambda: True, current_device=lambda: 0,
        device_count=lambda: 1, _is_in_bad_fork=lambda: False,
        get_amp_supported_dtype=lambda: [torch.bfloat16],
    )  # fmt: skip
    device = Device(rounds)
    _setup_privateuseone_for_python_backend(NAME, backend_module=module)
    FALLBACK.fallback(device, "PrivateUse1")
    for operator in _made_inside():
        ATEN.impl(operator, partial(device, operator), "PrivateUse1")
    return device


FALLBACK, ATEN = (torch.library.Library(space, "IMPL") for space in ("_", "aten"))


def _made_inside() -> list[Any]:
    """Operators that torch would make of others, or as views, without asking the device."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key
    composed = [_operator(name) for name in registered("CompositeExplicitAutograd")]
    views = [found for found in composed if found is not None and _is_view(found)]
    more = [*registered("CompositeExplicitAutogradNonFunctional"), *OTHERWISE, "aten::_unsafe_view"]
    return views + [found for found in map(_operator, more) if found is not None]


def _operator(name: str) -> Any:
    packet, _, overload = name.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)


def _is_view(operator: Any) -> bool:
    aliases = [returned.alias_info for returned in operator._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _held(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.held if isinstance(value, Elsewhere) else value


def _elsewhere(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    made: Any = torch._C._acc.create_empty_tensor(tuple(value.shape), value.dtype)  # type: ignore[attr-defined]
    made.__class__ = Elsewhere
    made.held = value
    return made


def _check(name: str, given: list[Tensor]) -> None:
    here = [tensor for tensor in given if not isinstance(tensor, Elsewhere)]
    if any(tensor.ndim for tensor in here):
        raise RuntimeError(f"{name}: tensors of two devices")
    if name == "aten::div" and any(not _is_power_of_two(divisor) for divisor in here):
        raise RuntimeError(f"{name}: CUDA multiplies by the reciprocal of a number")


def _is_power_of_two(number: Tensor) -> bool:
    return abs(torch.frexp(number.double())[0].item()) == 0.5


def _tf32(x: Tensor) -> Tensor:
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)
