"""Where a model comes from: ``.pt2``, a prepared model's folder, or ``package.module:callable``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import fx, nn

from deployq.data import LABELS, load_arrays
from deployq.errors import InputError
from deployq.graph.capture import capture, graph_from_program
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
        reference: a ``.pt2`` file (opened through the guard), a folder with a prepared model, or
            ``package.module:callable`` that returns an ``nn.Module``; only the last runs the
            user's code, because the user named it.
        data: the calibration data; its first samples give a callable's inputs their shapes.

    Raises:
        InputError: nothing there that can be opened.
        UnsafeFileError: a file that could run code.
    """
    path = Path(reference)
    if path.is_dir() and (path / GRAPH_FILE).is_file():
        return LoadedModel(prepared=load_prepared_model(path))
    if path.suffix == ".pt2":
        return LoadedModel(captured=graph_from_program(open_pt2(path)))
    if ":" in reference:
        return LoadedModel(captured=_capture_callable(reference, load_arrays(data)))
    raise InputError(
        reference,
        "the model must be a .pt2 file, a prepared model or package.module:callable",
        found="a path that is neither" if path.exists() else "no such file",
        next_step="torch.export.save(torch.export.export(model, inputs), 'model.pt2')",
    )


def _capture_callable(reference: str, arrays: Mapping[str, npt.NDArray[Any]]) -> fx.GraphModule:
    model = _call(reference)
    names = list(inspect.signature(model.forward).parameters)
    given = {name: array for name, array in arrays.items() if name != LABELS or name in names}
    if len(names) == 1 and len(given) == 1:
        given = {names[0]: next(iter(given.values()))}
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(
            reference,
            "the data has an array for each argument of forward",
            found=", ".join(arrays),
            allowed=", ".join(names),
            next_step=f"add {', '.join(missing)} to the .npz",
        )
    return capture(model, [torch.from_numpy(given[name][:2].copy()) for name in names])


def _call(reference: str) -> nn.Module:
    module_name, _, attribute = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own folder, as `python -m` has it
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            reference,
            "package.module:callable must exist",
            found=str(error),
            next_step="run from the folder that holds the module, or install it",
        ) from error
    model = function()
    if not isinstance(model, nn.Module):
        raise InputError(
            reference, "the callable returns a torch.nn.Module", found=type(model).__name__
        )
    return model
