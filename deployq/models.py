"""Where a model comes from: a ``.pt2`` or ``.onnx`` file, a prepared model's folder, or
``package.module:callable``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from deployq.data import LABELS, Dataset, check_dtype, load_arrays
from deployq.errors import InputError
from deployq.graph.capture import capture, graph_from_program
from deployq.graph.onnx_import import import_onnx
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE, load_prepared_model
from deployq.graph.pt2_guard import open_pt2


@dataclass(frozen=True)
class LoadedModel:
    """A model from outside: either captured and still float, or prepared already."""

    captured: fx.GraphModule | None = None
    prepared: PreparedModel | None = None


def load_model(reference: str, data: Path) -> LoadedModel:
    """Open what the user named.

    Args:
        reference: a ``.pt2`` or float ``.onnx`` file (opened through guards), a folder with a
            prepared model, or ``package.module:name`` of an ``nn.Module``, or of a callable that
            returns one; only the last runs the user's code, because the user named it.
        data: the calibration data; its first samples give a callable's inputs their shapes.

    Raises:
        InputError: nothing there that can be opened, the user's code raises, or the data does not
            fit the arguments of ``forward``.
        UnsafeFileError: a file that could run code, or that reaches outside its folder.
        UnsupportedError: an ONNX operator or shape that cannot be imported.
    """
    path = Path(reference)
    if path.is_dir() and (path / GRAPH_FILE).is_file():
        return LoadedModel(prepared=load_prepared_model(path))
    if path.suffix == ".pt2":
        return LoadedModel(captured=graph_from_program(open_pt2(path)))
    if path.suffix == ".onnx":
        return LoadedModel(captured=import_onnx(path, data))
    if ":" in reference:
        return LoadedModel(captured=_capture_callable(reference, data))
    raise _no_model(reference, path)


def _no_model(reference: str, path: Path) -> InputError:
    step = (
        "torch.export.save(torch.export.export(model, inputs, "
        "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), 'model.pt2')"
    )
    found = "a path that is neither" if path.exists() else "No such file"
    if path.is_dir():
        found = f"a folder without {GRAPH_FILE}"
        step = f"name the folder that holds {GRAPH_FILE}, such as a bundle, or a .pt2 file"
    return InputError(
        reference,
        "the model must be a .pt2 or .onnx file, a prepared model or package.module:callable",
        found=found,
        next_step=step,
    )


def _capture_callable(reference: str, data: Path) -> fx.GraphModule:
    arrays, model = load_arrays(data), _user_model(reference)
    parameters = inspect.signature(model.forward).parameters
    given = {name: array for name, array in arrays.items() if name != LABELS or name in parameters}
    required = [name for name, p in parameters.items() if p.default is p.empty and _single(p)]
    if len(required) == 1 and len(given) == 1 and not given.keys() & parameters.keys():
        given = {required[0]: next(iter(given.values()))}
    names = [name for name, p in parameters.items() if _single(p) and name in {*required, *given}]
    missing = [name for name in names if name not in given]
    if missing or not names:
        raise InputError(
            reference,
            "the data has an array for each argument of forward",
            found=", ".join(arrays),
            allowed=", ".join(parameters),
            next_step=f"add {', '.join(missing or ['an argument of forward'])} to the .npz",
        )
    _refuse_gap(reference, list(parameters), names)
    for name in names:  # before capture, whose errors would speak of operators
        check_dtype(f"{data}: {name}", given[name], np.dtype(np.float32))
    samples = Dataset({name: given[name] for name in names})
    few = samples.take(min(2, len(samples))).inputs
    return capture(model, [torch.from_numpy(few[name].copy()) for name in names])


def _single(parameter: inspect.Parameter) -> bool:
    """Whether it is one argument, not ``*args`` or ``**kwargs``."""
    return parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _refuse_gap(reference: str, parameters: list[str], names: list[str]) -> None:
    """Inputs are given by position, so only the last arguments can be left out."""
    if names == parameters[: len(names)]:
        return
    skipped = next(name for name in parameters if name not in names)
    raise InputError(
        reference,
        "arguments of forward are left out from the end",
        found=f"no array {skipped}, which comes before {names[-1]}",
        allowed=", ".join(parameters),
        next_step=f"add {skipped} to the .npz, or wrap the model in one that does not take it",
    )


def _user_model(reference: str) -> nn.Module:
    model = _user_object(reference)
    if not isinstance(model, nn.Module) and callable(model):
        try:
            model = model()
        except Exception as error:  # the user's code raises what it likes
            raise InputError(
                reference,
                "the callable makes the model without arguments",
                found=_raised(error),
                next_step="call it in Python to see where it raises",
            ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            reference,
            "the name is a module, or a callable that returns a torch.nn.Module",
            found=type(model).__name__,
            next_step="return the model itself",
        )
    return model


def _user_object(reference: str) -> object:
    module_name, _, attribute = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own folder, as `python -m` has it
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the module's own code may raise anything
        absent = not module_name or isinstance(error, (ImportError, AttributeError))
        raise InputError(
            reference,
            "package.module:callable must exist",
            found=_raised(error),
            next_step="run from the folder that holds the module, or install it"
            if absent
            else f"import {module_name} in Python to see where it raises",
        ) from error


def _raised(error: Exception) -> str:
    """The user's exception: its type and message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
