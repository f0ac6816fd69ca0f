"""Data that the user's own Python returns, in any of the shapes that data loaders have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from deployq.column_checks import LABELS
from deployq.columns import Columns
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.npz import check_finite
from deployq.user_code import call_user, user_object

MAX_BYTES = 8 << 30
_RULE = "module:callable returns data without arguments"
_ALLOWED = (
    "a dict of arrays, a Dataset, a tuple (x, y), an array, or an iterable of batches of these"
)


def read_user_data(reference: str) -> Columns:
    """Call what the user named and take what it returns.

    A dict is by the names of the model's inputs, ``y`` for the labels; a tuple is ``(x, y)``, where
    x may be a dict; anything else that can be iterated is taken as batches, which are joined.

    Raises:
        InputError: the user's code raises, returns something else, NaN or infinity, or more than
            :data:`MAX_BYTES`.
    """
    made = user_object(reference)
    if callable(made) and not isinstance(made, (Dataset, Mapping)):
        made = call_user(reference, _RULE, made)
    if isinstance(made, Dataset):
        labels = {} if made.labels is None else {LABELS: made.labels}
        return Columns({**made.columns, **labels})
    arrays = _part(reference, made)
    if arrays is None:
        if not isinstance(made, Iterable) or isinstance(made, (str, bytes, tuple)):
            raise _refusal(reference, type(made).__name__)
        arrays = _joined(reference, made)
    for name, array in arrays.items():
        check_finite(f"{reference}: {name}", array)
    return Columns(arrays)


def _part(reference: str, made: Any) -> dict[str, np.ndarray] | None:
    """One dict, tuple or array; None for anything else."""
    if isinstance(made, Mapping):
        return {str(name): _array(reference, str(name), item) for name, item in made.items()}
    if isinstance(made, tuple) and len(made) == 2:
        x, y = made
        inputs = _part(reference, x) if isinstance(x, Mapping) else {"x": _array(reference, "x", x)}
        return {**(inputs or {}), LABELS: _array(reference, LABELS, y)}
    if isinstance(made, np.ndarray) or hasattr(made, "detach"):
        return {"x": _array(reference, "x", made)}
    return None


def _joined(reference: str, batches: Iterable[Any]) -> dict[str, np.ndarray]:
    parts: list[dict[str, np.ndarray]] = []
    total = 0
    for batch in _each(reference, batches):
        part = _part(reference, tuple(batch) if isinstance(batch, list) else batch)
        if part is None or (parts and part.keys() != parts[0].keys()):
            found = type(batch).__name__ if part is None else ", ".join(part)
            raise _refusal(reference, f"a batch of {found}")
        flat = [name for name, array in part.items() if not array.ndim]
        if flat:
            raise _refusal(reference, f"{flat[0]} of one sample, not of a batch")
        parts.append(part)
        total += sum(array.nbytes for array in part.values())
        if total > MAX_BYTES:
            raise _refusal(reference, f"more than {MAX_BYTES} bytes: does it end?")
    if not parts:
        raise _refusal(reference, "no batches")
    return {n: _stack(reference, n, [part[n] for part in parts]) for n in parts[0]}


def _each(reference: str, batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; an error of the user's loader names it."""
    iterator = call_user(reference, _RULE, iter, batches)
    end = object()
    while (batch := call_user(reference, _RULE, next, iterator, end)) is not end:
        yield batch


def _stack(reference: str, name: str, arrays: list[np.ndarray]) -> np.ndarray:
    kinds = sorted({f"{array.dtype} {('N', *array.shape[1:])}" for array in arrays})
    if len(kinds) > 1:
        raise _refusal(reference, f"batches of {name} that differ: {'; '.join(kinds[:3])}")
    return np.concatenate(arrays)


def _array(reference: str, name: str, value: Any) -> np.ndarray:
    """A NumPy array of an array, a tensor or a list of numbers."""
    tensor = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(call_user(reference, f"{name} is an array", np.asarray, tensor))
    if array.dtype.kind not in "biuf":
        raise _refusal(reference, f"{name} of {array.dtype}")
    return array


def _refusal(reference: str, found: str) -> InputError:
    return InputError(
        reference,
        "module:callable gives arrays with one row per sample",
        found=found,
        allowed=_ALLOWED,
        next_step="return one of these; torch.utils.data.DataLoader makes batches of samples",
    )
