"""Names of an ONNX file as module paths: ``/layer1/conv/Conv`` becomes ``layer1.conv.Conv``.

Slashes and colons nest as dots do; other characters become underscores. Two names that meet get a
number.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable

from torch import nn

_TAKEN_BY_TORCH = frozenset(dir(nn.Module())) | {"deployq"}
MAX_LENGTH, MAX_DEPTH = 150, 20


def to_path(name: str) -> str:
    """A dotted path of ASCII letters, digits and underscores, in module trees of torch."""
    parts = [_word(part) for part in re.split(r"[/.:]+", name) if part]
    shallow = [*parts[:MAX_DEPTH], *(["_".join(parts[MAX_DEPTH:])] if parts[MAX_DEPTH:] else [])]
    return ".".join(part[:MAX_LENGTH] for part in shallow) or "unnamed"


def to_identifier(name: str) -> str:
    """An argument's name: ``input.1`` becomes ``input_1``."""
    word = _word(name)[:MAX_LENGTH] or "unnamed"
    return f"_{word}" if word[0].isdigit() else word


def _word(text: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return f"{word}_" if keyword.iskeyword(word) or word in _TAKEN_BY_TORCH else word


class Names:
    """Paths of calls, parameters and normalizations in one tree without clashes."""

    def __init__(self) -> None:
        self._labels: set[str] = set()
        self._inside: set[str] = set()  # paths that hold something
        self._leaves: set[str] = set()  # tensors, and modules that hold nothing else

    def argument(self, name: str) -> str:
        """The name of an input."""
        return self._label(to_identifier(name))

    def call(self, name: str) -> str:
        """The path of a node's call; tensors may lie inside."""
        path = self._label(to_path(name))
        self._inside.update(_prefixes(path))
        return path

    def norm(self, name: str) -> str:
        """The path of a module that holds a BatchNorm's tensors and nothing else."""
        return self._leaf(to_path(name))

    def tensor(self, name: str) -> str:
        """The path of a parameter or buffer."""
        return self._leaf(to_path(name))

    def _label(self, path: str) -> str:
        # dots and double underscores meet in the paths of quantizers
        free = _numbered(path, lambda p: p.replace(".", "__") not in self._labels)
        self._labels.add(free.replace(".", "__"))
        return free

    def _leaf(self, path: str) -> str:
        if self._leaves.intersection(_prefixes(path)):  # nothing lies inside a tensor
            path = path.replace(".", "_")
        free = _numbered(path, self._is_free)
        self._leaves.add(free)
        self._inside.update([*_prefixes(free), free])
        return free

    def _is_free(self, path: str) -> bool:
        calls = path.replace(".", "__") in self._labels
        return not (calls or path in self._inside)


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _numbered(path: str, is_free: Callable[[str], bool]) -> str:
    candidate, number = path, 0
    while not is_free(candidate):
        number += 1
        candidate = f"{path}_{number}"
    return candidate
