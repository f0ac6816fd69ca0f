"""Check the program inside a ``.pt2`` archive before torch reads it.

torch.export.load turns strings of the program into Python: symbolic expressions go through
``sympify`` (eval); guards, names of values and string constants become source code that is
executed; operators are found by attribute look-up from ``torch``; enums and default factories
of a tree spec import modules. So every string has a rule here, by the key it stands under;
where no key is listed, it is a dotted name. Keys: torch._export.serde.schema, torch 2.13.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import NoReturn

import torch

from deployq.errors import InputError, UnsafeFileError

NEXT = "export again with torch.export.save(ep, path), or give the model as package.module:callable"

_IDENTIFIER = re.compile(r"([A-Za-z_]\w*)?", re.ASCII)
_DOTTED = re.compile(r"([\w@-]+(\.[\w@-]+)*)?", re.ASCII)
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\U0010ffff'\"\\{}]{0,1000}")  # may be put between quotes
_SYMBOL = re.compile(r"[a-z]{1,4}\d+|-?\d+(\.\d+)?(e[+-]?\d\d?)?", re.ASCII)  # or a Float's digits
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
_MODE = re.compile(r"torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)")
_SYMBOLIC = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.trunc|torch\.sym_(int|float|not|ite|max|min|sqrt)"
)
_FILE_OPERATORS = ("from_file",)  # reads or makes any file; aten::save has no dispatcher kernel
_POWERS = ("Pow", "PowByNatural")
_FUNCTIONS = frozenset(
    (
        "Symbol",
        "Integer",
        "Rational",
        "Float",
        "Add",
        "Mul",
        *_POWERS,
        "Max",
        "Min",
        "Mod",
        "PythonMod",
        "FloorDiv",
        "CeilDiv",
        "CleanDiv",
        "IntTrueDiv",
        "FloatTrueDiv",
        "ModularIndexing",
        "Where",
        "ToFloat",
        "TruncToInt",
        "FloorToInt",
        "CeilToInt",
        "RoundToInt",
        "Identity",
        "floor",
        "ceiling",
        "Equality",
        "Unequality",
        "StrictGreaterThan",
        "GreaterThan",
        "StrictLessThan",
        "LessThan",
        "And",
        "Or",
        "Not",
    )
)
_TREES = (
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
    "torch.fx.immutable_collections.immutable_list",
    "torch.fx.immutable_collections.immutable_dict",
)
_KEPT_METADATA = ("nn_module_stack", "torch_fn")  # plain text for torch, never code
_EMPTIED: dict[str, object] = {"guards_code": [], "treespec_namedtuple_fields": {}}


def parse_json(where: str, data: bytes) -> object:
    """Parse a JSON member.

    Raises:
        InputError: it is not JSON, or nested too deep.
    """
    try:
        parsed: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where, "the member is not JSON", found=str(error), next_step=NEXT
        ) from error
    return parsed


def clean_json(where: str, value: object, key: str = "") -> object:
    """The value without what could run: guards and all metadata but names are dropped.

    Args:
        where: file and member, for the errors.
        value: parsed JSON of a program or of a payload configuration.
        key: the key that ``value`` stands under.

    Raises:
        UnsafeFileError: a string breaks the rule of its key.
    """
    if isinstance(value, dict):
        return {name: _clean_entry(where, value, name) for name in value}
    if isinstance(value, list):
        return [clean_json(where, item, key) for item in value]
    if isinstance(value, str):
        _RULES.get(key, _check_dotted)(where, value)
    return value


def _clean_entry(where: str, owner: dict[str, object], name: str) -> object:
    _check_dotted(where, name)
    value = owner[name]
    # The owner tells torch's own fields from a value that the user happened to call "metadata".
    if (
        name == "metadata"
        and isinstance(value, dict)
        and not owner.keys().isdisjoint(("target", "graph"))
    ):
        return {kept: str(value[kept]) for kept in _KEPT_METADATA if kept in value}
    if name in _EMPTIED and not owner.keys().isdisjoint(("graph_module", "graph")):
        return _EMPTIED[name]
    return clean_json(where, value, name)


def _check_dotted(where: str, text: str) -> None:
    if not _DOTTED.fullmatch(text):
        _refuse(where, "a name has letters, digits, '_', '-', '@' and dots", text)


def _check_identifier(where: str, text: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        _refuse(where, "the name of a value is an identifier", text)


def _check_text(where: str, text: str) -> None:
    if not _TEXT.fullmatch(text):
        _refuse(where, "a string constant has printable ASCII without quotes, \\ and braces", text)


def _check_operator(where: str, text: str) -> None:
    if _MODE.fullmatch(text) or _SYMBOLIC.fullmatch(text):
        return
    match = _ATEN.fullmatch(text)
    if match is None or match[1] in _FILE_OPERATORS or not _has_kernel(*match.groups()):
        _refuse(where, "a program calls aten operators only", text, allowed="torch.ops.aten.*")


def _has_kernel(name: str, overload: str) -> bool:
    """True for operators on tensors: TorchScript's own (save, warn, ...) have no kernel."""
    suffix = "" if overload == "default" else f".{overload}"
    return torch._C._dispatch_has_kernel(f"aten::{name}{suffix}")


def _check_expression(where: str, text: str) -> None:
    try:
        tree = ast.parse(text, mode="eval").body if len(text) <= 1000 else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or not _is_symbolic(tree):
        _refuse(
            where,
            "a symbolic expression is arithmetic as sympy's srepr writes it",
            text,
            allowed="Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(1))",
        )


def _is_symbolic(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        # Powers of numbers are worked out at once and may be astronomically large.
        powers = node.func.id not in _POWERS or _is_small_power(node.args)
        options = all(isinstance(word.value, ast.Constant) for word in node.keywords)
        known = node.func.id in _FUNCTIONS
        return known and powers and options and all(map(_is_symbolic, node.args))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and _is_symbolic(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _SYMBOL.fullmatch(node.value) is not None
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_small_power(args: list[ast.expr]) -> bool:
    texts = [ast.unparse(arg) for arg in args]
    exponent = re.fullmatch(r"(?:Integer\()?(\d{1,2})\)?", texts[-1]) if len(texts) == 2 else None
    return exponent is not None and texts[0].startswith("Symbol(")


def _check_tree_spec(where: str, text: str) -> None:
    spec = parse_json(where, text.encode())
    if not isinstance(spec, list) or len(spec) != 2 or spec[0] != 1:
        _refuse(where, "a tree spec has protocol 1", text)
    _check_tree(where, spec[1])


def _check_tree(where: str, node: object) -> None:
    if not isinstance(node, dict):
        _refuse(where, "a tree spec has nodes", str(node))
    kind, context = node.get("type"), node.get("context")
    if kind is not None and kind not in _TREES:
        _refuse(
            where,
            "inputs and outputs are plain collections",
            str(kind),
            allowed="tuple, list, dict, OrderedDict",
        )
    keys = parse_json(where, context.encode()) if isinstance(context, str) else context
    for key in keys if isinstance(keys, list) else [] if keys is None else [keys]:
        if isinstance(key, str):
            _check_dotted(where, key)
        elif type(key) is not int:
            _refuse(where, "the keys of a dict input are names or integers", str(key))
    children = node.get("children_spec")
    for child in children if isinstance(children, list) else [children]:
        _check_tree(where, child)


def _refuse(where: str, rule: str, found: str, allowed: str = "") -> NoReturn:
    raise UnsafeFileError(where, rule, found=repr(found[:200]), allowed=allowed, next_step=NEXT)


_RULES: dict[str, Callable[[str, str], None]] = {
    "name": _check_identifier,
    "as_name": _check_identifier,
    "forward_arg_names": _check_identifier,
    "target": _check_operator,
    "as_operator": _check_operator,
    "expr_str": _check_expression,
    "in_spec": _check_tree_spec,
    "out_spec": _check_tree_spec,
    "as_string": _check_text,
    "as_strings": _check_text,
    "torch_version": _check_text,
}
