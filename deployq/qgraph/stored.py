"""Stored tensors as arrays: nothing is taken from sizes that the data do not bear out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper

from deployq.errors import InputError


def check_in_memory(tensor: TensorProto, name: str) -> None:
    """Raises InputError where the data is in another file and was not loaded."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InputError(
            f"tensor {name}",
            "the model's data is in memory",
            found="external data",
            next_step="load the model together with its external data",
        )


def stored_array(tensor: TensorProto, name: str) -> npt.NDArray[Any]:
    """The elements of an initializer or of an attribute.

    Raises:
        InputError: external data, a type that ONNX has not, or data that does not fill the shape.
    """
    check_in_memory(tensor, name)
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found = f"type {tensor.data_type}, shape {list(tensor.dims)}: {error}"
        raise _unfit(name, found) from error
    if array.shape != tuple(tensor.dims):
        raise _unfit(name, f"shape {list(tensor.dims)}, {array.size} elements")
    return array


def _unfit(name: str, found: str) -> InputError:
    return InputError(
        f"tensor {name}",
        "a stored tensor has one of ONNX's types, and data that fills its shape",
        found=found,
        next_step="save the model again in the tool that wrote it",
    )
