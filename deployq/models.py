"""Where a model comes from: a ``.pt2`` or ``.onnx`` file, a prepared model's folder, or
``package.module:callable``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import fx, nn

from deployq.bundle import check_if_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.forward_arguments import example_inputs
from deployq.graph.capture import capture, graph_from_program
from deployq.graph.onnx_import import Shapes, import_onnx
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE, load_prepared_model
from deployq.graph.pt2_guard import open_pt2
from deployq.sources import Samples
from deployq.user_code import call_user, user_object
from deployq.weights import check_finite_weights, load_weights
from deployq_targets import TargetProfile
from deployq_targets.describe import differences


def _capture_pt2(path: Path, shapes: Shapes) -> fx.GraphModule:
    return graph_from_program(open_pt2(path))


FILES: dict[str, Callable[[Path, Shapes], fx.GraphModule]] = {
    ".pt2": _capture_pt2,
    ".onnx": import_onnx,
}
"""Suffix of a file with a float network, to what captures it without running code in it."""


@dataclass(frozen=True)
class LoadedModel:
    """A model from outside: either captured and still float, or prepared already.

    Args:
        notes: what was done to the weights on the way, one sentence each.
    """

    captured: fx.GraphModule | None = None
    prepared: PreparedModel | None = None
    notes: tuple[str, ...] = ()


def load_model(
    reference: str, samples: Callable[[], Samples], weights: Path | None = None
) -> LoadedModel:
    """Open what the user named.

    Args:
        reference: a file that :data:`FILES` lists, a folder with a prepared model, or
            ``package.module:name`` of an ``nn.Module``, or of a callable that returns one; only
            the last runs the user's code, because the user named it.
        samples: gives the calibration data; called for ``package.module:name``, whose inputs get
            their shapes from it, and for files that leave dimensions open.
        weights: a checkpoint for ``package.module:name``.

    Raises:
        InputError: nothing there that can be opened, the user's code raises, the data does not fit
            the arguments of ``forward``, weights that do not fit, or that are NaN or infinite.
        UnsafeFileError: a file that could run code, or that reaches outside its folder.
        UnsupportedError: an ONNX operator or shape that cannot be imported.
    """
    path = Path(reference)
    prepared = path.is_dir() and (path / GRAPH_FILE).is_file()
    if weights is not None and (prepared or path.suffix in FILES):
        raise InputError(
            "--weights",
            "weights are for package.module:callable",
            found=f"{reference}, which holds its own",
            next_step="leave --weights out",
        )
    if prepared:
        check_if_bundle(path)
        return LoadedModel(prepared=load_prepared_model(path))
    if path.suffix in FILES:
        loaded = LoadedModel(FILES[path.suffix](path, partial(_shapes, samples)))
    elif ":" in reference:
        model = _user_model(reference)
        notes = () if weights is None else load_weights(model, weights)
        inputs = example_inputs(reference, model, samples())
        loaded = LoadedModel(capture(model, inputs), notes=notes)
    else:
        raise _no_model(reference, path)
    assert loaded.captured is not None
    check_finite_weights(reference, dict(loaded.captured.named_parameters()))
    buffers = dict(loaded.captured.named_buffers())
    check_finite_weights(reference, buffers, buffers)
    return loaded


def check_target(prepared: PreparedModel, profile: TargetProfile) -> None:
    """Refuse another target than that of a prepared model.

    Raises:
        InputError: with both names, and the values that differ where the names do not.
    """
    kept = prepared.profile
    if kept != profile:
        changed = "" if kept.name != profile.name else f", {_changes(profile, kept)}"
        raise InputError(
            "target",
            "a prepared model keeps the target it was prepared for",
            found=f"{profile.name}{changed}",
            allowed=f"{kept.name} as it was then" if changed else kept.name,
            next_step="prepare the float model again for this target",
        )


def _changes(found: TargetProfile, kept: TargetProfile) -> str:
    pairs = differences(found, kept).items()
    return "; ".join(f"{key} = {new}, not {old}" for key, (new, old) in pairs)


def fit_samples(samples: Samples, prepared: PreparedModel) -> Dataset:
    """Arrays of the shapes and types that a model takes (batch first and free)."""
    shapes = {name: [None, *shape[1:]] for name, shape in prepared.inputs.items()}
    return samples.dataset(shapes, prepared.input_dtypes())


def _shapes(samples: Callable[[], Samples]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(column.shape) for name, column in samples().columns.stored().items()}


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
        f"the model must be a {' or '.join(FILES)} file, a prepared model or "
        "package.module:callable",
        found=found,
        next_step=step,
    )


def _user_model(reference: str) -> nn.Module:
    model = user_object(reference)
    if not isinstance(model, nn.Module) and callable(model):
        model = call_user(reference, "the callable makes the model without arguments", model)
    if not isinstance(model, nn.Module):
        raise InputError(
            reference,
            "the name is a module, or a callable that returns a torch.nn.Module",
            found=type(model).__name__,
            next_step="return the model itself",
        )
    return model
