"""Tensors and modules at dotted paths of a module tree."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn


def tensors_of_module(module: fx.GraphModule) -> dict[str, tuple[Tensor, bool]]:
    """Every parameter, buffer and constant by name, and whether ``state_dict`` has it."""
    saved = module.state_dict()
    named = dict(module.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {**named, **dict(module.named_buffers(remove_duplicate=False))}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target not in found:
            found[node.target] = read_tensor(module, node)
    return {name: (tensor, name in saved) for name, tensor in found.items()}


def attach(
    root: nn.Module, name: str, value: Tensor | nn.Module, *, persistent: bool = True
) -> None:
    """Put a tensor or module at a dotted path, making plain modules on the way.

    ``persistent`` says whether a buffer is part of ``state_dict``.
    """
    *path, leaf = name.split(".")
    owner = root
    for part in path:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if isinstance(value, nn.Module):
        owner.add_module(leaf, value)
    elif isinstance(value, nn.Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value, persistent=persistent)


def read_tensor(module: nn.Module, node: Any) -> Tensor:
    """The parameter or buffer that a ``get_attr`` node reads."""
    path, _, leaf = str(node.target).rpartition(".")
    tensor = getattr(module.get_submodule(path), leaf)
    assert isinstance(tensor, Tensor)
    return tensor


def free_name(root: nn.Module, name: str) -> str:
    """A path where :func:`attach` finds nothing: ``name``, with underscores where it is taken."""
    *path, leaf = name.split(".")
    owner: nn.Module | None = root
    for place, part in enumerate(path):
        while owner is not None and part not in owner._modules and hasattr(owner, part):
            part += "_"
        path[place], owner = part, None if owner is None else owner._modules.get(part)
    while owner is not None and hasattr(owner, leaf):
        leaf += "_"
    return ".".join((*path, leaf))


def kin(value: Tensor, *origins: Tensor) -> Tensor:
    """``value`` as what it was made from: a parameter where one is, which learns where one does."""
    if not any(isinstance(origin, nn.Parameter) for origin in origins):
        return value
    return nn.Parameter(value, requires_grad=any(origin.requires_grad for origin in origins))
