"""The fake-quant reference as a side: a prepared model, evaluated on codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from deployq.arithmetic.contract import Contract
from deployq.data import Dataset
from deployq.divergence.sides import Array, Codes, Side
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.opened_file import OpenedFile
from deployq.qparams import QParams
from deployq.verifier.parity import tensors_of


class Reference(Side):
    """A prepared model under a contract.

    Args:
        label: of the side.
        prepared: calibrated.
        contract: the arithmetic that finishes each operator.
        lowered: gives the file that the model is lowered to; asked for where a layer is explained.
    """

    def __init__(
        self,
        label: str,
        prepared: PreparedModel,
        contract: Contract,
        lowered: Callable[[], OpenedFile],
    ) -> None:
        self.label, self.prepared, self.contract = label, prepared, contract
        self._lowered = lowered
        self._grids = prepared.grids()

    @property
    def tensors(self) -> Mapping[str, QParams]:
        return self._grids

    @cached_property
    def file(self) -> OpenedFile:
        return self._lowered()

    def input_shapes(self) -> Mapping[str, Sequence[int | None]]:
        return {name: [None, *shape[1:]] for name, shape in self.prepared.inputs.items()}

    def input_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        return self.prepared.input_dtypes()

    @property
    def edges(self) -> Mapping[str, QParams]:
        return {}

    @property
    def fixed_batch(self) -> int | None:
        return None

    def contract_of(self, tensor: str) -> Contract | None:
        return self.contract

    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        replaced = {tensor: torch.from_numpy(codes) for tensor, codes in (forced or {}).items()}
        batch = tensors_of(self.prepared, Dataset(inputs))
        found = evaluate_codes(self.prepared, self.contract, *batch, forced=replaced)
        return {tensor: codes.numpy().astype(np.int64) for tensor, codes in found.items()}
