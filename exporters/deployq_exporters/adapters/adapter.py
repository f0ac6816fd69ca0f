"""The shape of an adapter: one runtime, and what deployq asks of it.

An adapter writes the runtime's file from the canonical one, says what that file computes, loads it,
and runs it where this machine can. Vendors' packages are imported when first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt
import onnx

from deployq.qgraph import IntegerGraph
from deployq_targets import TargetProfile

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A network as it was lowered.

    Args:
        model: the canonical file.
        graph: what it says.
        shapes: code tensor to its shape for one sample.
        profile: of the target.
    """

    model: onnx.ModelProto
    graph: IntegerGraph
    shapes: Mapping[str, tuple[int, ...]]
    profile: TargetProfile


@dataclass(frozen=True)
class Answer:
    """What a runtime computed.

    Args:
        outputs: graph output to reals, or to codes where the file gives codes, (N, ...).
        inner: code tensor to codes, int64; empty where the runtime keeps them to itself.
        elapsed_ms: by the device's own clock, copies left out; None where the caller's serves.
    """

    outputs: Mapping[str, Array]
    inner: Mapping[str, Array] = field(default_factory=dict)
    elapsed_ms: float | None = None


class Loaded(Protocol):
    """A file that a runtime took."""

    @property
    def floats(self) -> tuple[str, ...] | None:
        """Nodes of the file outside the runtime's integer kernels; None where it does not tell."""

    @property
    def float_products(self) -> tuple[str, ...] | None:
        """Nodes whose factors it multiplies in float, by their names in the canonical file; those
        of ``floats`` that end there are none. None where it does not tell.
        """

    @property
    def facts(self) -> Mapping[str, Any]:
        """What else its tool says, for reports: plain data."""

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        """Feed reals (N, ...), or codes where the file takes codes.

        Raises:
            InputError: a kernel refuses the file or the inputs.
        """


@dataclass(frozen=True)
class Load:
    """How a file is loaded.

    Args:
        threads: of one operator.
        inner: keep inner codes, where the runtime can without computing otherwise.
        compiled: what the runtime's compiler made of the file before; None: it compiles now.
    """

    threads: int = 1
    inner: bool = False
    compiled: bytes | None = None


@dataclass(frozen=True)
class Compiled:
    """What a runtime's own compiler makes of its file ahead of time.

    Args:
        file_name: of what it makes, in a bundle.
        make: from the runtime's file; it needs the package, and its bytes need not be the same
            twice. Raises InputError, with the vendor's own words, where the compiler refuses.
        settings: what the compiler is told beside the file, for reports.
    """

    file_name: str
    make: Callable[[Source, bytes], bytes]
    settings: Callable[[Source], Mapping[str, str]] = lambda source: {}


def unknown(profile: TargetProfile) -> str | None:
    """No contract: nobody has worked out what a runtime's kernels do step by step."""
    return None


def always() -> bool:
    """Nothing beyond the package is needed."""
    return True


@dataclass(frozen=True)
class Adapter:
    """One runtime.

    Args:
        name: as ``--runtime`` says it.
        title: as reports say it.
        distribution: of the package index, which knows the version.
        module: that has to be there to import.
        least: version, at least.
        install: the command that installs it.
        licence: of what is installed.
        file_name: of its file in a bundle.
        write: the file; the same source gives the same bytes. Raises UnsupportedError for what the
            runtime cannot say, InputError where a package is missing.
        read: what a file says, in its own codes.
        load: raises InputError with the vendor's own words where the runtime refuses the file.
        contract: name of the builtin profile whose arithmetic it computes for a target; None where
            its arithmetic is not known code by code, or it computes nothing.
        most_samples: worth running, where it is slow; None: all.
        computes: whether it runs files on this machine; otherwise it only compiles them.
        emulated: what runs stands in for a chip: its time says nothing.
        compiled: what its compiler makes of the file; None where nothing is kept.
    """

    name: str
    title: str
    distribution: str
    module: str
    least: str
    install: str
    licence: str
    file_name: str
    write: Callable[[Source], bytes]
    read: Callable[[Source, bytes], IntegerGraph]
    load: Callable[[Source, bytes, Load], Loaded]
    contract: Callable[[TargetProfile], str | None] = unknown
    most_samples: int | None = None
    computes: Callable[[], bool] = always
    emulated: bool = False
    compiled: Compiled | None = None
