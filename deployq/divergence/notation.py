"""How a side is written: ``reference:BUNDLE``, ``file:FILE.onnx``, ``sim:FILE.onnx@TARGET``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from deployq.arithmetic.contract import QDQ, Contract
from deployq.bundle import CANONICAL_FILE, MANIFEST, read_bundle
from deployq.divergence.reference_side import Reference
from deployq.divergence.runtime_side import InRuntime
from deployq.divergence.sides import Side, Simulated
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import load_prepared_model
from deployq.opened_file import OpenedFile, open_file, open_prepared
from deployq.verifier.evidence import RUNTIME_FILE
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import load_profile


class Way(StrEnum):
    """How a side computes."""

    REFERENCE = "reference"  # the fake-quant model, evaluated on codes
    FILE = "file"  # ONNX Runtime, un-optimised
    DEPLOYED = "deployed"  # ONNX Runtime's default optimisation; of a bundle the runtime's file
    SIM = "sim"  # the simulator, under a target's arithmetic


FORMS = "reference:BUNDLE[@TARGET], file:SOURCE, deployed:SOURCE, sim:SOURCE[@TARGET]"
STATED = (Way.REFERENCE, Way.SIM)
"""Ways whose arithmetic a target states."""


@dataclass(frozen=True)
class Named:
    """A side as it was written.

    Args:
        way: how it computes.
        source: a bundle, a prepared model's folder, or an ONNX file.
        target: whose arithmetic; None is the bundle's own.
    """

    way: Way
    source: Path
    target: str | None

    def __str__(self) -> str:
        target = "" if self.target is None else f"@{self.target}"
        return f"{self.way}:{self.source}{target}"


def written_sides(words: Sequence[str]) -> tuple[str, str]:
    """Two sides of ``A B``, or of ``SOURCE WAY[@TARGET] WAY[@TARGET]``.

    Raises:
        InputError: another number of words.
    """
    if len(words) == 2:
        return words[0], words[1]
    if len(words) != 3:
        raise InputError(
            "deployq diff",
            "a comparison has two sides",
            found=f"{len(words)} words",
            allowed="A B, or SOURCE and two of reference, file, deployed, sim",
            next_step="deployq diff bundle reference deployed --input x.npz",
        )
    source, *ways = words
    first, second = (_on(source, way) for way in ways)
    return first, second


def _on(source: str, way: str) -> str:
    word, at, target = way.partition("@")
    return f"{word}:{source}{at}{target}"


def parse_side(text: str) -> Named:
    """A side from its notation; what follows the last ``@`` is a target, unless it is in the path.

    Raises:
        InputError: no such way, or a target where a runtime decides.
    """
    word, colon, rest = text.partition(":")
    if not colon or not rest or word not in set(Way):
        raise InputError(
            f"side {text}",
            "a side says how it computes, and what",
            found=repr(word) if colon else "no ':'",
            allowed=FORMS,
            next_step="deployq diff reference:bundle deployed:bundle --input x.npz",
        )
    way, path, target = Way(word), rest, None
    if "@" in rest and not Path(rest).exists():
        path, _, target = rest.rpartition("@")
    if target is not None and way not in STATED:
        raise InputError(
            f"side {text}",
            "ONNX Runtime has its own arithmetic",
            found=f"@{target}",
            allowed=", ".join(STATED),
            next_step=f"write {way}:{path}, or sim:{path}@{target}",
        )
    return Named(way, Path(path), target)


def open_side(text: str) -> Side:
    """The side that a notation names.

    Raises:
        InputError: no side, nothing there that can be read, or a simulation without a target.
        ProfileError: a broken profile.
        UnsupportedError: a node of the file has no integer form.
    """
    named = parse_side(text)
    return _OPEN[named.way](named)


def _contract(target: str) -> Contract:
    """Of a profile; ``onnx-qdq`` is what the file says, in real arithmetic."""
    return QDQ if target == QDQ.name else load_profile(target).contract()


def _reference(named: Named) -> Side:
    bundle = (named.source / MANIFEST).is_file()
    if bundle:
        read_bundle(named.source)  # its files are whole
    prepared = load_prepared_model(named.source)
    contract = _contract(named.target) if named.target else prepared.profile.contract()
    lowered = partial(open_file, named.source) if bundle else partial(_lowered, prepared)
    return Reference(str(named), prepared, contract, lowered)


def _lowered(prepared: PreparedModel) -> OpenedFile:
    model = to_proto(lower(prepared, prepared.profile))
    return open_prepared(model, prepared)


def _file(named: Named) -> Side:
    return InRuntime(str(named), open_file(named.source, CANONICAL_FILE), optimised=False)


def _deployed(named: Named) -> Side:
    return InRuntime(str(named), open_file(named.source, RUNTIME_FILE), optimised=True)


def _sim(named: Named) -> Side:
    stated = named.target not in (None, QDQ.name)
    target = load_profile(str(named.target)) if stated else None
    opened = open_file(named.source, target=target)
    if named.target is not None:
        return Simulated(str(named), opened, QDQ if target is None else target.contract())
    if opened.profile is None:
        raise InputError(
            f"side {named}",
            "a file says nothing of the arithmetic: name a target",
            found="none",
            next_step=f"sim:{named.source}@ort-cpu, @ and the path of a profile, or @{QDQ.name}",
        )
    return Simulated(str(named), opened, opened.profile.contract())


_OPEN = {Way.REFERENCE: _reference, Way.FILE: _file, Way.DEPLOYED: _deployed, Way.SIM: _sim}
