"""Inequalities over the shape of an operator: ``kh == kw and kh != 2``, ``scale in (2, 4, 8)``.

A small language inside Python's grammar: numbers, the names below, ``+ - * / // %``, comparisons
(chained too), ``in`` and ``not in`` a tuple, ``and``, ``or``, ``not``. It means what Python means.
Text is parsed by ``ast`` and walked by an allow-list; nothing is ever handed to Python to run.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

Number: TypeAlias = int | float

SHAPE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "kh": "kernel height",
        "kw": "kernel width",
        "dilated_kh": "rows from the first to the last of a kernel: (kh - 1) * dilation + 1",
        "dilated_kw": "the same of its columns",
        "sh": "stride over rows",
        "sw": "stride over columns",
        "pads": "padding on all four sides together",
        "cin": "input channels",
        "cout": "output channels",
        "h": "height of the input",
        "w": "width of the input",
        "scale": "of a Resize: output height over input height, where columns have the same",
    }
)
"""Names that a graph says; lengths without a window or a height are 1, and ``pads`` 0."""

POSITION_NAMES = ("max_ipos", "min_ipos", "sum_ipos", "opos")
"""Names that only calibrated power-of-two scales say: positions of the inputs and the output."""

LONGEST = 400
"""Characters; deeper nesting than this allows could exhaust the stack."""

_ARITHMETIC: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_COMPARISONS: Mapping[type[ast.AST], Callable[..., bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}


@dataclass(frozen=True)
class Inequality:
    """A parsed inequality.

    Args:
        text: as the profile has it.
        names: what it reads.
        tree: of allowed nodes only.
    """

    text: str
    names: frozenset[str]
    tree: ast.expr

    def holds(self, values: Mapping[str, Number]) -> bool:
        """Whether it is true of ``values``, which has every one of ``names``.

        Raises:
            ArithmeticError: a division by zero, or a number beyond floats.
        """
        return bool(_value(self.tree, values))


@cache
def parse_inequality(text: str) -> Inequality:
    """Parse and check a text.

    Raises:
        ValueError: it is no inequality of this language; the message names the part.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters are more than {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no expression") from error
    _check_truth(tree)
    found = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return Inequality(text, frozenset(found), tree)


def checked(text: str) -> str:
    """``text`` itself, as a validator of the schema wants it; see :func:`parse_inequality`."""
    return parse_inequality(text).text


def _check_truth(node: ast.expr) -> None:
    """What is true or false: comparisons, and ``and``, ``or``, ``not`` of them."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check_truth(part)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _check_truth(part)
        case ast.Compare(left=left, ops=words, comparators=rights):
            _check_number(left)
            for index, (word, right) in enumerate(zip(words, rights, strict=True)):
                last = index == len(words) - 1
                _check_compared(word, right, last)
        case _:
            raise ValueError(f"{_shown(node)} is no comparison")


def _check_compared(word: ast.cmpop, right: ast.expr, last: bool) -> None:
    if type(word) not in _COMPARISONS:
        raise ValueError(f"{type(word).__name__} is none of < <= > >= == != in, not in")
    if not isinstance(word, (ast.In, ast.NotIn)):
        _check_number(right)
        return
    if not isinstance(right, ast.Tuple) or not last:
        raise ValueError(f"{_shown(right)}: in is followed by numbers in parentheses, (2, 4), last")
    for element in right.elts:
        _check_number(element)


def _check_number(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return
        case ast.Constant(value=float() as value) if math.isfinite(value):
            return
        case ast.Name(id=name) if name in SHAPE_NAMES or name in POSITION_NAMES:
            return
        case ast.Name(id=name):
            known = ", ".join([*SHAPE_NAMES, *POSITION_NAMES])
            raise ValueError(f"{name} is none of {known}")
        case ast.UnaryOp(op=word, operand=part) if type(word) in _ARITHMETIC:
            _check_number(part)
        case ast.BinOp(left=left, op=word, right=right) if type(word) in _ARITHMETIC:
            _check_number(left)
            _check_number(right)
        case _:
            raise ValueError(f"{_shown(node)} is no number, name, or + - * / // % of them")


def _shown(node: ast.expr) -> str:
    return repr(ast.unparse(node))


def _value(node: ast.expr, values: Mapping[str, Number]) -> Any:
    """The value of a checked node, as Python has it."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.Tuple(elts=elements):
            return tuple(_value(element, values) for element in elements)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _value(part, values)
        case ast.UnaryOp(op=word, operand=part):
            return _ARITHMETIC[type(word)](_value(part, values))
        case ast.BinOp(left=left, op=word, right=right):
            return _ARITHMETIC[type(word)](_value(left, values), _value(right, values))
        case ast.BoolOp(op=word, values=parts):
            found = (_value(part, values) for part in parts)  # read one by one, as Python does
            return all(found) if isinstance(word, ast.And) else any(found)
        case ast.Compare(left=left, ops=words, comparators=rights):
            return _compare(_value(left, values), words, rights, values)
    raise AssertionError(f"an unchecked node: {node}")


def _compare(
    left: Any, words: list[ast.cmpop], rights: list[ast.expr], values: Mapping[str, Number]
) -> bool:
    for word, node in zip(words, rights, strict=True):
        right = _value(node, values)
        if not _COMPARISONS[type(word)](left, right):
            return False
        left = right
    return True
