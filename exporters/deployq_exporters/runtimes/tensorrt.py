"""TensorRT, and TensorRT for RTX, which has the same interface: engines from ONNX files.

TensorRT for RTX builds for stated compute capabilities on a machine without a GPU. Full TensorRT
builds for the device that is there; no more than its documentation was at hand.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import onnx

from deployq.errors import InputError, UnsupportedError
from deployq_exporters.runtimes.tensorrt_layers import EngineLayer, logged_layers
from deployq_exporters.runtimes.tensorrt_refusals import refusal

PACKAGES = ("tensorrt", "tensorrt_rtx")
"""Modules with the common interface; the first one that is installed is taken."""

STATES_CAPABILITY = "set_compute_capability"
"""The method of a builder's configuration that makes engines for devices that are not here."""

ONE_SAMPLE = (1, 1, 1)


@dataclass(frozen=True)
class Package:
    """What is installed.

    Args:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: its own.
        module: the package.
    """

    name: str
    version: str
    module: ModuleType

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Engine:
    """A built file.

    Args:
        plan: the serialized engine; it holds for the package's version that made it.
        package: name and version of what built it.
        layers: its kernels as the builder logged them; empty where the package does not.
        warnings: of the parser and the builder.
    """

    plan: bytes
    package: str
    layers: tuple[EngineLayer, ...]
    warnings: tuple[str, ...]


def installed(name: str = "") -> bool:
    """True where a package, or the one of this name, can be imported."""
    return any(importlib.util.find_spec(n) is not None for n in ([name] if name else PACKAGES))


@lru_cache(1)
def find_package() -> Package:
    """The installed package.

    Raises:
        InputError: there is none, or its libraries do not load.
    """
    reason = "neither package tensorrt nor tensorrt_rtx"
    for name in PACKAGES:
        if not installed(name):
            continue
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            reason = f"{name}, which does not load: {error}"
            continue
        return Package(name, str(module.__version__), module)
    raise InputError(
        "TensorRT",
        "its package is installed",
        found=reason,
        next_step="pip install 'deployq[tensorrt-rtx]', or 'deployq[tensorrt]' for the full one",
    )


def build_engine(
    model: onnx.ModelProto,
    *,
    capabilities: Sequence[str] = (),
    batch: tuple[int, int, int] = ONE_SAMPLE,
) -> Engine:
    """Parse a file and build an engine; strongly typed: each tensor has the type of the file.

    Args:
        model: in the dialect ``tensorrt``.
        capabilities: compute capabilities to build for, such as ``8.6``; empty takes the package's
            own: of TensorRT for RTX several, of full TensorRT the device's that is there.
        batch: the least, the usual and the greatest batch, where the file leaves it open.

    Raises:
        InputError: no package, a capability that it does not know, or a size other than the batch
            is open.
        UnsupportedError: the parser or the builder refuses the file; the error names the node, the
            vendor's message, and the rule of ``deployq check`` where one says the same.
    """
    package = find_package()
    trt, log = package.module, package_log()
    log.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, model)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _state_capabilities(package, config, capabilities)
    _state_batch(builder, config, network, batch)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(model, "builder", [(log.errors(), -1)])
    layers = tuple(layer for line in log.lines() for layer in logged_layers(line))
    return Engine(bytes(plan), str(package), layers, tuple(log.warnings()))


def _parse(trt: Any, network: Any, model: onnx.ModelProto) -> None:
    parser = trt.OnnxParser(network, package_log())
    if parser.parse(model.SerializeToString()):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = [(f"{error.code().name}: {error.desc()}", int(error.node())) for error in errors]
    raise _refused(model, "parser", said)


def _refused(
    model: onnx.ModelProto, stage: str, said: Sequence[tuple[str, int]]
) -> UnsupportedError:
    first, *more = [refusal(model, text, index) for text, index in said]
    rule = f" (rule {first.rule})" if first.rule else ""
    return UnsupportedError(
        first.where or "the file",
        f"the {stage} of {find_package()} takes every node{rule}",
        found=first.message + (f"; {len(more)} more" if more else ""),
        next_step="translate it to the dialect tensorrt; deployq check FILE --target tensorrt",
    )


def _state_capabilities(package: Package, config: Any, wanted: Sequence[str]) -> None:
    if not wanted:
        return
    if not hasattr(config, STATES_CAPABILITY):
        raise InputError(
            "compute capabilities",
            f"{package} builds for the device that is there",
            found=", ".join(wanted),
            allowed="none",
            next_step="pip install 'deployq[tensorrt-rtx]', which builds ahead of time",
        )
    known = {
        member.name.removeprefix("SM"): member
        for member in package.module.ComputeCapability.__members__.values()
        if member.name.startswith("SM")
    }
    config.num_compute_capabilities = len(wanted)
    for index, text in enumerate(wanted):
        member = known.get(text.replace(".", ""))
        if member is None:
            raise InputError(
                "compute capabilities",
                f"{package} knows the compute capability",
                found=text,
                allowed=", ".join(f"{name[:-1]}.{name[-1]}" for name in known),
            )
        config.set_compute_capability(member, index)


def _state_batch(builder: Any, config: Any, network: Any, batch: tuple[int, int, int]) -> None:
    """One optimization profile over all inputs with an open batch."""
    profile, stated = builder.create_optimization_profile(), False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(size < 0 for size in shape[1:]):
            raise InputError(
                f"input {tensor.name}",
                "every size but the batch is a number",
                found=str(shape),
                next_step="export with fixed sizes",
            )
        if shape and shape[0] < 0:
            profile.set_shape(tensor.name, *((size, *shape[1:]) for size in batch))
            stated = True
    if stated:
        config.add_optimization_profile(profile)


@lru_cache(1)
def package_log() -> Any:
    """The one logger of the process: the package takes no second one."""
    trt = find_package().module

    class Log(trt.ILogger):  # type: ignore[name-defined, misc] # the module is known at run time
        def __init__(self) -> None:
            super().__init__()
            self._said: list[tuple[Any, str]] = []

        def log(self, severity: Any, message: str) -> None:
            self._said.append((severity, message))

        def clear(self) -> None:
            self._said.clear()

        def lines(self) -> list[str]:
            return [text for _, text in self._said]

        def warnings(self) -> list[str]:
            return [text for severity, text in self._said if severity == trt.ILogger.WARNING]

        def errors(self) -> str:
            worst = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)
            return "\n".join(text for severity, text in self._said if severity in worst)

    return Log()
