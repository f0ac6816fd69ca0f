"""Whether the float network inside a prepared one is still the one that was prepared.

Preparation keeps the digest of the user's tensors. Equalization, smoothing and factors, which do
not change what the network computes, renew it; learned rounding, bias correction, tuning and
training do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

OWN = "deployq."
"""Where the paths of quantizers and units begin; all other tensors are the user's."""

FLOAT_DIGEST = "float_sha256"


def float_digest(module: nn.Module) -> str:
    """SHA-256 of the names, shapes and values of the user's tensors."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not name.startswith(OWN):
            sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            sha.update(tensor_bytes(tensor))
    return sha.hexdigest()


def is_untouched(module: nn.Module, provenance: Mapping[str, Any]) -> bool:
    """True where the user's tensors are those of the preparation; of older files none knows."""
    return bool(provenance.get(FLOAT_DIGEST) == float_digest(module))


def tensor_bytes(tensor: Tensor) -> bytes:
    """The values of a tensor, on any device, as they lie in memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())
