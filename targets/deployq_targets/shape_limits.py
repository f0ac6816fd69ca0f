"""The limits of ``[[op]]`` entries on the shape of an operator, one small function a key.

Each function yields what lies beyond its limit; its docstring is the rule in the user's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from deployq_targets.graph import OpRule
from deployq_targets.inequality import Inequality, Number, parse_inequality
from deployq_targets.operator_shape import Extent, OperatorShape

Span: TypeAlias = tuple[int, int]


def kernel_h(shape: OperatorShape, span: Span) -> Iterator[str]:
    """The height of the kernel lies in the range."""
    yield from _outside(span, shape.kernel[0])


def kernel_w(shape: OperatorShape, span: Span) -> Iterator[str]:
    """The width of the kernel lies in the range."""
    yield from _outside(span, shape.kernel[1])


def kernel_area_max(shape: OperatorShape, most: int) -> Iterator[str]:
    """Height times width of the kernel is at most this."""
    yield from _above(most, shape.kernel[0] * shape.kernel[1])


def stride(shape: OperatorShape, span: Span) -> Iterator[str]:
    """The strides over rows and columns lie in the range."""
    yield from _outside(span, *shape.strides)


def dilation(shape: OperatorShape, span: Span) -> Iterator[str]:
    """The dilations over rows and columns lie in the range."""
    yield from _outside(span, *shape.dilations)


def pad(shape: OperatorShape, span: Span) -> Iterator[str]:
    """The padding of each side lies in the range."""
    yield from _outside(span, *shape.pads)


def cin_max(shape: OperatorShape, most: int) -> Iterator[str]:
    """No input has more channels than this."""
    yield from _above(most, *(extent.c for extent in shape.inputs))


def cout_max(shape: OperatorShape, most: int) -> Iterator[str]:
    """The output has no more channels than this."""
    yield from _above(most, shape.output.c)


def cin_multiple(shape: OperatorShape, of: int) -> Iterator[str]:
    """The channels of each input are a multiple of this."""
    yield from (str(extent.c) for extent in shape.inputs if extent.c % of)


def cout_multiple(shape: OperatorShape, of: int) -> Iterator[str]:
    """The channels of the output are a multiple of this."""
    if shape.output.c % of:
        yield str(shape.output.c)


def hw_max(shape: OperatorShape, most: int) -> Iterator[str]:
    """No input or output is higher or wider than this."""
    extents = (*shape.inputs, shape.output)
    yield from _above(most, *(side for extent in extents for side in (extent.h, extent.w)))


def dims_max(shape: OperatorShape, most: int) -> Iterator[str]:
    """No dimension of an input or output, the batch apart, is longer than this."""
    yield from _above(most, *shape.dims)


def expr(shape: OperatorShape, text: str) -> Iterator[str]:
    """The inequality holds, for each input in turn."""
    inequality = parse_inequality(text)
    for extent in shape.inputs:
        values = _values(shape, extent)
        broken = _broken(inequality, values)
        if broken:
            yield broken
            return


CHECKS: Mapping[str, Callable[[OperatorShape, Any], Iterator[str]]] = {
    check.__name__: check
    for check in (
        kernel_h, kernel_w, kernel_area_max, stride, dilation, pad, cin_max, cout_max,
        cin_multiple, cout_multiple, hw_max, dims_max, expr,
    )
}  # fmt: skip
"""By the key of ``[[op]]``."""


@dataclass(frozen=True)
class Breach:
    """An operator beyond a limit of its entry.

    Args:
        key: ``op.Conv.stride``.
        rule: in the user's words.
        found, allowed: as text.
    """

    key: str
    rule: str
    found: str
    allowed: str


def states_limits(rule: OpRule) -> bool:
    """Whether an entry limits shapes at all."""
    return any(getattr(rule, key) is not None for key in CHECKS)


def breach(shape: OperatorShape, rule: OpRule) -> Breach | None:
    """The first limit of an entry that a shape is beyond; None where it keeps all."""
    for key, check in CHECKS.items():
        limit = getattr(rule, key)
        if limit is None:
            continue
        found = next(check(shape, limit), None)
        if found is not None:
            text = str(check.__doc__)
            return Breach(f"op.{rule.type}.{key}", text, found, allowed_text(key, limit))
    return None


def allowed_text(key: str, limit: object) -> str:
    """A limit as a person says it."""
    if isinstance(limit, tuple):
        return f"{limit[0]}..{limit[1]}"
    if key.endswith("_multiple"):
        return f"multiples of {limit}"
    return str(limit) if key == "expr" else f"up to {limit}"


def _outside(span: Span, *found: int) -> Iterator[str]:
    return (str(value) for value in found if not span[0] <= value <= span[1])


def _above(most: int, *found: int) -> Iterator[str]:
    return (str(value) for value in found if value > most)


def _broken(inequality: Inequality, values: Mapping[str, Number]) -> str:
    """What breaks an inequality, "" where it holds."""
    missing = sorted(inequality.names - set(values))
    if missing:
        return f"no {', '.join(missing)} that is one number"
    shown = ", ".join(f"{name} = {values[name]:g}" for name in sorted(inequality.names))
    try:
        return "" if inequality.holds(values) else shown
    except ArithmeticError as error:
        return f"{error} with {shown}"


def _values(shape: OperatorShape, source: Extent) -> dict[str, Number]:
    """The names of an inequality; see ``deployq_targets.inequality``."""
    (kh, kw), (sh, sw), (dh, dw) = shape.kernel, shape.strides, shape.dilations
    values: dict[str, Number] = {
        "kh": kh, "kw": kw, "sh": sh, "sw": sw,
        "dilated_kh": (kh - 1) * dh + 1, "dilated_kw": (kw - 1) * dw + 1,
        "pads": sum(shape.pads), "cin": source.c, "cout": shape.output.c,
        "h": source.h, "w": source.w,
    }  # fmt: skip
    return values if shape.scale is None else values | {"scale": shape.scale}
