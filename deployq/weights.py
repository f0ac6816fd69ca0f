"""Weights of a user's module: a checkpoint of plain tensors, held to the module key by key."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deployq.errors import InputError, UnsafeFileError

PICKLED = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *PICKLED)
NESTED = ("state_dict", "model")
"""Keys under which training scripts put the state_dict."""
PREFIX = "module."
"""What DataParallel puts before every key."""
COUNTER = "num_batches_tracked"
SHOWN = 8


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key.

    Args:
        where: the file, for errors.
        tensors: a flat state_dict.
        notes: what was done to the keys, one sentence each.
    """

    where: str
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Put the tensors of a checkpoint into ``model``; returns what was done to the keys.

    Args:
        model: any module; it is changed only if every key fits.
        path: ``.safetensors``, or ``.pt``, ``.pth``, ``.bin`` that hold tensors and no code.

    Raises:
        InputError: the file cannot be read; keys are missing or unexpected, shapes or types differ,
            or a tensor holds NaN or infinity: all of them by name.
        UnsafeFileError: a pickle with more than tensors in it.
    """
    own = model.state_dict()
    checkpoint = _without_prefix(read_checkpoint(path), own)
    _check_keys(checkpoint, own)
    _check_tensors(checkpoint, own)
    check_finite_weights(checkpoint.where, checkpoint.tensors, own)
    model.load_state_dict(dict(checkpoint.tensors), strict=False)
    return checkpoint.notes


def read_checkpoint(path: Path) -> Checkpoint:
    """A flat state_dict, or that under ``state_dict`` or ``model``.

    Raises:
        InputError: no such file, another suffix, damaged, or no state_dict.
        UnsafeFileError: a pickle with more than tensors in it.
    """
    if path.suffix not in SUFFIXES or not path.is_file():
        raise InputError(
            str(path),
            "weights are a file of tensors",
            found="a folder" if path.is_dir() else path.suffix if path.exists() else "No such file",
            allowed=", ".join(SUFFIXES),
            next_step="safetensors.torch.save_model(model, 'weights.safetensors')",
        )
    value, notes = _read(path), list[str]()
    for key in NESTED:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
            notes.append(f"{path.name}: the weights are those under {key!r}")
            break
    return Checkpoint(str(path), _flat(path, value), tuple(notes))


def _without_prefix(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> Checkpoint:
    """Without :data:`PREFIX`, where every key has it and the model's own keys do not."""
    prefixed = all(key.startswith(PREFIX) for key in checkpoint.tensors)
    if not prefixed or all(key.startswith(PREFIX) for key in own):
        return checkpoint
    tensors = {key.removeprefix(PREFIX): item for key, item in checkpoint.tensors.items()}
    note = f"{Path(checkpoint.where).name}: the prefix {PREFIX!r} of every key is removed"
    return Checkpoint(checkpoint.where, tensors, (*checkpoint.notes, note))


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeFileError(
            str(path),
            "a checkpoint holds tensors and no code; nothing else is unpickled",
            found=_reason(error),
            allowed="a state_dict: tensors, lists, dicts, numbers and text",
            next_step="save model.state_dict() where the file comes from, best as .safetensors",
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            str(path),
            "the checkpoint cannot be read",
            found=_reason(error),
            next_step="copy or save the file again",
        ) from error


def _reason(error: Exception) -> str:
    """The sentence that says what was refused; torch wraps it in advice to trust the file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return f"{type(error).__name__}: {' '.join([*telling, *lines][:1])}"[:300]


def _flat(path: Path, value: Any) -> dict[str, Tensor]:
    entries = dict(value) if isinstance(value, Mapping) else {}
    others = [str(key) for key, item in entries.items() if not _is_plain(item)]
    if not entries or others:
        found = f"no plain tensor under {shown(others)}" if others else type(value).__name__
        raise InputError(
            str(path),
            "a checkpoint is a dict of tensors, flat or under 'state_dict' or 'model'",
            found=found if entries or not isinstance(value, Mapping) else "an empty dict",
            next_step="save model.state_dict()",
        )
    return {str(key): item for key, item in entries.items()}


def _is_plain(item: object) -> bool:
    if not isinstance(item, Tensor) or item.is_quantized or item.is_complex():
        return False
    return item.layout is torch.strided


def _check_keys(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> None:
    given = checkpoint.tensors.keys()
    tied = {_storage(own[key]) for key in given & own.keys()} - {None}
    missing = [
        key
        for key, tensor in own.items()
        if key not in given and not key.endswith(COUNTER) and _storage(tensor) not in tied
    ]
    unexpected = [key for key in given if key not in own]
    if missing or unexpected:
        raise InputError(
            checkpoint.where,
            "a checkpoint has the keys of the model, no fewer and no more",
            found=f"missing: {shown(missing)}; unexpected: {shown(unexpected)}",
            allowed=f"the {len(own)} keys of model.state_dict()",
            next_step="make the model of this checkpoint, or rename its keys and save it again",
        )


def _storage(tensor: Tensor) -> tuple[int, torch.Size] | None:
    """What tells tied tensors, which safetensors writes once; None for an empty tensor."""
    return (tensor.data_ptr(), tensor.shape) if tensor.numel() else None


def _check_tensors(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> None:
    """Shapes are equal; the type of the model holds every value exactly (float16 in float32)."""
    faults = []
    for key, tensor in checkpoint.tensors.items():
        wanted = own[key]
        if tensor.shape != wanted.shape:
            faults.append(f"{key} {tuple(tensor.shape)}, model {tuple(wanted.shape)}")
        elif not _holds(wanted.dtype, tensor.dtype):
            faults.append(f"{key} {_type(tensor)}, model {_type(wanted)}")
    if faults:
        raise InputError(
            checkpoint.where,
            "tensors of a checkpoint have the shapes and types of the model's",
            found=shown(faults, "; "),
            next_step="make the model of this checkpoint; convert types where it was saved",
        )


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    same_kind = wide.is_floating_point == narrow.is_floating_point
    return same_kind and torch.promote_types(wide, narrow) == wide


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_finite_weights(
    where: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor] | None = None
) -> None:
    """Refuse NaN and infinity.

    Args:
        where: the file, for the error.
        tensors: by name.
        own: the tensors that they replace: where one holds infinity itself, such as the mask of an
            attention, infinity may stay.

    Raises:
        InputError: all tensors with such values, by name.
    """
    faults = []
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        mask = own is not None and bool(own[key].isinf().any())
        bad = int((tensor.isnan() if mask else ~tensor.isfinite()).sum())
        if bad:
            faults.append(f"{key} ({bad} of {tensor.numel()})")
    if faults:
        raise InputError(
            where,
            "weights are finite numbers",
            found=f"NaN or infinity in {shown(faults)}",
            next_step="take a checkpoint from before the training diverged",
        )


def shown(names: Iterable[str], separator: str = ", ") -> str:
    """All names, shortened after the first few."""
    listed = list(names)
    more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
    return separator.join([*listed[:SHOWN], *more]) or "none"
