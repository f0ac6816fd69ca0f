"""What all sections of a profile share: the base model and the small value types."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployq.arithmetic.form_names import KINDS, WIDE


class Section(BaseModel):
    """One table of the TOML file: frozen, strict about types, unknown keys refused.

    The text under each field is its description in the JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )


def _ordered(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"the low end {span[0]} is above the high end {span[1]}")
    return span


Span: TypeAlias = Annotated[tuple[int, int], AfterValidator(_ordered)]
"""``[low, high]``, both included."""

Bits: TypeAlias = Annotated[int, Field(ge=1, le=32)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Size: TypeAlias = Annotated[int, Field(ge=0)]
Rate: TypeAlias = Annotated[float, Field(gt=0)]
Tile: TypeAlias = tuple[Count, Count, Count]
"""``[rows, columns, output channels]``."""

Product: TypeAlias = tuple[Count, Count]
"""``[input channels, kernel cells]``."""

ProductUse: TypeAlias = tuple[Count, Count, Size]
"""``[input channels, kernel cells, cells that the rest of a kernel counts for at least]``."""

TypeName: TypeAlias = Annotated[
    str,
    Field(
        pattern="^[us]([1-9]|[12][0-9]|3[0-2])$",
        description="Sign and width: u1..u32, s1..s32.",
        examples=["u8", "s4"],
    ),
]
OpType: TypeAlias = Annotated[
    str,
    Field(
        pattern="^[A-Z][A-Za-z0-9]*$",
        description="An ONNX operator type.",
        examples=["Conv", "Gemm"],
    ),
]
FormName: TypeAlias = Annotated[
    str,
    Field(
        pattern=f"^([A-Z][A-Za-z0-9]*|{'|'.join(KINDS)})({WIDE})?$",
        description="An ONNX operator type, or a kind of one that is computed in another way.",
        examples=["Conv", *KINDS, f"Conv{WIDE}"],
    ),
]
WidthPair: TypeAlias = Annotated[
    str,
    Field(
        pattern="^w[0-9]+a[0-9]+$",
        description="Bits of weights and activations.",
        examples=["w4a8", "w8a8"],
    ),
]
