"""Pieces of C: arrays, stored integers, designated initializers, string literals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deployq.qparams import IntArray
from deployq_exporters.golden.packing import BYTE, pack
from deployq_targets.words import CodeOrder

PER_LINE = 24
LOWEST = -(1 << 63)


@dataclass
class CSource:
    """A C source under construction; every name in it is made once.

    Args:
        order: of codes in a byte.
    """

    order: CodeOrder
    lines: list[str] = field(default_factory=list)

    def array(self, c_type: str, name: str, values: Iterable[Any]) -> str:
        """Defines an array of integers; returns its name."""
        texts = [_literal(int(value)) for value in values]
        rows = [", ".join(texts[i : i + PER_LINE]) for i in range(0, len(texts), PER_LINE)]
        self.lines += [f"static const {c_type} {name}[] = {{", ",\n".join(rows), "};"]
        return name

    def codes(self, name: str, values: IntArray, bits: int, signed: bool) -> str:
        """Defines codes as they are stored; returns an initializer of ``dq_codes``."""
        flat = np.asarray(values).ravel()
        if bits <= BYTE:
            self.array("uint8_t", name, pack(flat, bits, self.order))
        else:
            self.array(f"{'' if signed else 'u'}int{bits}_t", name, flat)
        return stored(name, flat.size, bits, signed)

    def struct(self, c_type: str, name: str, text: str) -> str:
        """Defines one struct; returns its address."""
        self.lines.append(f"static const {c_type} {name} = {text};")
        return f"&{name}"


def stored(name: str, count: int, bits: int, signed: bool) -> str:
    """An initializer of ``dq_codes``."""
    return f"{{{name}, {count}, {bits}, {int(signed)}}}"


def initializer(**fields: Any) -> str:
    """``{.name = value, ...}`` without the fields that are zero or empty."""
    said = [f".{name} = {value}" for name, value in fields.items() if value not in (0, "", None)]
    return "{" + ", ".join(said) + "}"


def braces(values: Iterable[Any]) -> str:
    """``{1, 2}``"""
    return "{" + ", ".join(str(value) for value in values) + "}"


def quoted(text: str) -> str:
    """A C string of any name: what is no plain character is written as octal bytes."""
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}"
             for b in text.encode("utf-8", "backslashreplace"))  # fmt: skip
    return '"' + "".join(plain) + '"'


def _literal(value: int) -> str:
    return f"(-{-LOWEST - 1} - 1)" if value == LOWEST else str(value)
