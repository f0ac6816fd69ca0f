"""Functions of one variable as tables; ``oracle.lookup`` in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.arithmetic.contract import QDQ, Form
from deployq.arithmetic.oracle import lookup as oracle
from deployq.arithmetic.oracle.lookup import DEFAULT_PARAMS, UnaryParams, check_table
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType


def lookup_table(
    function: str,
    qx: QParams,
    out: QParams,
    *,
    params: UnaryParams = DEFAULT_PARAMS,
    form: Form = QDQ.default,
) -> Tensor:
    """Output codes for the input codes qmin..qmax, int64 on the processor: the oracle's table."""
    table = oracle.lookup_table(function, qx, out, params=params, form=form)
    return torch.from_numpy(table)


def apply_table(x: Tensor, qtype: QType, table: Tensor | IntArray) -> Tensor:
    """``table[x - qmin]``; see ``oracle.lookup.apply_table``."""
    check_table(len(table), qtype)
    return torch.as_tensor(table, device=x.device)[x.long() - qtype.qmin]
