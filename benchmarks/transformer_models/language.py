"""Architectures of the package ``transformers``, two small blocks each, with random weights.

Models of text take ids alone: the masks of what is no padding, and the positions, are their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import torchvision_shapes
from benchmarks.transformer_models.weights import GAIN, draw_wider

WORDS, TOKENS, PIXELS = 64, 12, 64
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 48}  # fmt: skip
_TEXT = {**_SIZES, "vocab_size": WORDS, "max_position_embeddings": 40}
_NARROW = {**_TEXT, "embedding_size": 16}
_SHARED = {**_TEXT, "num_key_value_heads": 2}
_IMAGE = {**_SIZES, "image_size": PIXELS, "patch_size": 8}

TEXT: Mapping[str, Mapping[str, Any]] = {
    "Bert": _TEXT,
    "DistilBert": {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
                   "max_position_embeddings": 40},
    "Roberta": _TEXT,
    "Albert": _NARROW,
    "Electra": _NARROW,
    "MobileBert": {**_NARROW, "intra_bottleneck_size": 16},
    "SqueezeBert": {**_TEXT, "embedding_size": 32},
    "ConvBert": {**_TEXT, "embedding_size": 32, "conv_kernel_size": 3, "head_ratio": 2},
    "FNet": {k: v for k, v in _TEXT.items() if k != "num_attention_heads"},
    "GPT2": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40},
    "Llama": _SHARED,
    "Qwen2": _SHARED,
    "Mistral": _SHARED,
    "T5Encoder": {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
                  "num_heads": 4},
}  # fmt: skip
"""Beginning of the class to what its configuration states; the rest is the package's."""

IMAGES: Mapping[str, Mapping[str, Any]] = {
    "ViT": _IMAGE,
    "DeiT": _IMAGE,
    "Beit": _IMAGE,
    "Swin": {"image_size": PIXELS, "patch_size": 4, "embed_dim": 16, "depths": [2, 2],
             "num_heads": [2, 2], "window_size": 4},
}  # fmt: skip


GAINS: Mapping[str, float] = {"MobileBert": 1.0}
"""Of random weights, where the normalizations do not hold what :func:`draw_wider` gives."""


class OneOutput(nn.Module):
    """The hidden states, or the scores, of one input."""

    def __init__(self, model: nn.Module, key: str) -> None:
        super().__init__()
        self.model, self.key = model, key

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.model(**{self.key: x})[0]
        return first


def network(name: str) -> nn.Module:
    """Random weights (seed 0), in evaluation mode.

    Args:
        name: of :data:`TEXT` or :data:`IMAGES`.
    """
    with torchvision_shapes.skipped():
        import torchvision  # noqa: F401 # what follows imports it, and finds it loaded
    import transformers

    facts = dict(TEXT[name] if name in TEXT else IMAGES[name])
    configuration = getattr(transformers, f"{name.removesuffix('Encoder')}Config")(**facts)
    if hasattr(configuration, "use_cache"):
        configuration.use_cache = False
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(configuration)
    draw_wider(model, GAINS.get(name, GAIN))
    return OneOutput(model, "input_ids" if name in TEXT else "pixel_values").eval()
