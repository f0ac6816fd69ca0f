"""Ways to damage a file: its bytes, or the structure that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import (  # type: ignore[import-untyped]  # ships no types
    DecodeError,
    Message,
)
from onnx import TensorProto, helper, numpy_helper

Damage = Callable[[onnx.ModelProto, Random], None]

WHOLE = (0, 1, 2, 3, 4, 7, 64, -1, -2, 2**31, 2**40, 2**63 - 1, -(2**31), -(2**63))
REAL = (0.0, -0.0, 1.0, -1.0, 0.3, 1e-45, 1e-38, 3e38, np.nan, np.inf, -np.inf)
NAMES = ("", "nowhere", "x", "y", "xq", "xd", "v")
OPERATORS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "Sigmoid", "Softmax",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Pad", "Reshape", "Resize", "Slice",
    "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "Gather",
    "Cast", "Constant", "ConstantOfShape", "Expand", "Tile", "Erf", "LayerNormalization",
    "ReduceMean", "Loop", "If", "Split", "QuantizeLinear", "DequantizeLinear", "QLinearConv",
    "QLinearMatMul", "QLinearAdd", "QLinearMul", "QGemm", "QLinearConcat", "QLinearAveragePool",
    "QLinearSigmoid", "NoSuchOperator", "",
)  # fmt: skip
ATTRIBUTES = (
    "axis", "axes", "block_size", "output_dtype", "group", "strides", "pads", "dilations",
    "kernel_shape", "auto_pad", "ceil_mode", "transA", "transB", "alpha", "beta", "perm", "to",
    "value", "value_ints", "mode", "start", "end", "min", "max", "allowzero", "output_padding",
    "channels_last", "approximate", "nearest_mode", "shape", "steps", "", "nonsense",
)  # fmt: skip


# Bytes


def parsed(data: bytes) -> onnx.ModelProto | None:
    """The model that bytes hold; None where they are no protobuf."""
    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        return None


def flip(data: bytes, random: Random) -> bytes:
    """A few bits."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(data: bytes, random: Random) -> bytes:
    """A piece out of the middle, or the end."""
    start = random.randrange(len(data))
    end = random.choice((len(data), min(len(data), start + random.randint(1, 40))))
    return data[:start] + data[end:]


def insert(data: bytes, random: Random) -> bytes:
    """Bytes that were not there."""
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.randint(1, 20)) + data[place:]


def splice(data: bytes, random: Random) -> bytes:
    """A piece of the file, once more at another place."""
    start, place = random.randrange(len(data)), random.randrange(len(data))
    piece = data[start : start + random.randint(1, 200)]
    return data[:place] + piece + data[place + random.randrange(len(piece) + 1) :]


def spoil(data: bytes, random: Random) -> bytes:
    """Bytes of a stored tensor: the file stays one."""
    model = parsed(data)
    stored = [] if model is None else [t.raw_data for t in model.graph.initializer if t.raw_data]
    if not stored:
        return flip(data, random)
    piece = random.choice(stored)
    changed, place = bytearray(data), data.index(piece)
    for _ in range(random.randint(1, 4)):
        changed[place + random.randrange(len(piece))] = random.randrange(256)
    return bytes(changed)


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, cut, insert, splice, spoil)


# Nodes


def _node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    return random.choice(list(model.graph.node) or [model.graph.node.add()])


def _names(model: onnx.ModelProto) -> list[str]:
    made = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return [*made, *NAMES]


def drop_node(model: onnx.ModelProto, random: Random) -> None:
    if model.graph.node:
        del model.graph.node[random.randrange(len(model.graph.node))]


def repeat_node(model: onnx.ModelProto, random: Random) -> None:
    model.graph.node.append(_node(model, random))


def move_node(model: onnx.ModelProto, random: Random) -> None:
    moved = onnx.NodeProto()
    moved.CopyFrom(_node(model, random))
    drop_node(model, random)
    model.graph.node.insert(random.randrange(len(model.graph.node) + 1), moved)


def rename_input(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    if node.input:
        node.input[random.randrange(len(node.input))] = random.choice(_names(model))


def rename_output(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    if node.output:
        node.output[random.randrange(len(node.output))] = random.choice(_names(model))


def loop_back(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    if node.input and node.output:
        node.input[random.randrange(len(node.input))] = node.output[0]


def drop_input(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    if node.input:
        del node.input[random.randrange(len(node.input))]


def swap_inputs(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    order = list(node.input)
    random.shuffle(order)
    node.input[:] = order


def more_ends(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    random.choice((node.input, node.output)).append(random.choice(_names(model)))


def drop_outputs(model: onnx.ModelProto, random: Random) -> None:
    del _node(model, random).output[:]


def other_operator(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    node.op_type = random.choice(OPERATORS)
    node.domain = random.choice((node.domain, "", "com.microsoft", "ai.onnx", "ai.onnx.ml", "own"))


# Attributes


def drop_attribute(model: onnx.ModelProto, random: Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if nodes:
        attributes = random.choice(nodes).attribute
        del attributes[random.randrange(len(attributes))]


def set_attribute(model: onnx.ModelProto, random: Random) -> None:
    node = _node(model, random)
    names = [a.name for a in node.attribute] * 3 + list(ATTRIBUTES)
    name = random.choice(names)
    kept = [a for a in node.attribute if a.name != name or random.random() < 0.1]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, _attribute_value(random))])


def _attribute_value(random: Random) -> Any:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: random.choice(WHOLE),
        lambda: [random.choice(WHOLE) for _ in range(random.randint(1, 5))],
        lambda: [random.randint(0, 3) for _ in range(random.randint(1, 4))],
        lambda: float(random.choice(REAL)),
        lambda: random.choice(
            ("", "SAME_UPPER", "SAME_LOWER", "VALID", "reflect", "linear", "\xff")
        ),
        lambda: b"\xff\xfe",
        lambda: numpy_helper.from_array(_array(random)),
        lambda: helper.make_graph([], "inner", [], []),
    )
    return random.choice(kinds)()


def nudge_attribute(model: onnx.ModelProto, random: Random) -> None:
    """A little more or less."""
    attributes = [a for node in model.graph.node for a in node.attribute]
    if not attributes:
        return
    attribute, step = random.choice(attributes), random.choice((-1, 1, 2))
    if attribute.ints and max(map(abs, attribute.ints)) < 2**60:
        attribute.ints[random.randrange(len(attribute.ints))] += step
    elif attribute.HasField("i") and abs(attribute.i) < 2**60:
        attribute.i += step


def type_attribute(model: onnx.ModelProto, random: Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if nodes:
        random.choice(random.choice(nodes).attribute).type = random.randrange(15)


# Constants


def _array(random: Random) -> Any:
    shape = tuple(random.randint(0, 4) for _ in range(random.randint(0, 4)))
    kind = random.choice((np.float32, np.int64, np.int8, np.uint8, np.int32, np.float64, np.bool_))
    values = [random.choice((0, 1, 2, 3, -1)) for _ in range(int(np.prod(shape)))]
    return np.array(values).astype(kind).reshape(shape)


def _tensor(model: onnx.ModelProto, random: Random) -> TensorProto:
    held = list(model.graph.initializer)
    held += [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    return random.choice(held or [model.graph.initializer.add()])


def drop_constant(model: onnx.ModelProto, random: Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[random.randrange(len(model.graph.initializer))]


def other_constant(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    tensor.CopyFrom(numpy_helper.from_array(_array(random), tensor.name))


def change_values(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    values = numpy_helper.to_array(tensor).copy() if _is_sound(tensor) else np.zeros(())
    if values.size and values.dtype.kind in "fiu":
        changed = random.choice(REAL if values.dtype.kind == "f" else WHOLE)
        with np.errstate(all="ignore"):
            values.flat[random.randrange(values.size)] = np.array(changed).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def nudge_values(model: onnx.ModelProto, random: Random) -> None:
    """Other sound values."""
    tensor = _tensor(model, random)
    values = numpy_helper.to_array(tensor).copy() if _is_sound(tensor) else np.zeros(())
    if values.dtype.kind == "f":
        values = values * np.asarray(2.0 ** random.randint(-30, 30), values.dtype)
    elif values.dtype.kind in "iu":
        values = np.roll(values, 1) + np.asarray(random.randint(0, 2), values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), tensor.name))


def spoil_scale(model: onnx.ModelProto, random: Random) -> None:
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    scales = [tensor for tensor in floats if _is_sound(tensor)]
    if scales:
        tensor = random.choice(scales)
        values = np.full_like(numpy_helper.to_array(tensor), random.choice(REAL))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _is_sound(tensor: TensorProto) -> bool:
    try:
        numpy_helper.to_array(tensor)
    except Exception:  # any: a tensor that was damaged before
        return False
    return True


def retype_constant(model: onnx.ModelProto, random: Random) -> None:
    _tensor(model, random).data_type = random.randrange(30)


def reshape_constant(model: onnx.ModelProto, random: Random) -> None:
    dims = _tensor(model, random).dims
    if dims and random.random() < 0.5:
        dims[random.randrange(len(dims))] = random.choice(WHOLE)
    elif random.random() < 0.5:
        dims.insert(0, 1)
    else:
        dims[:] = [random.choice(WHOLE) for _ in range(random.randint(0, 5))]


def cut_constant(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    tensor.raw_data = tensor.raw_data[: random.randint(0, len(tensor.raw_data))]


def rename_constant(model: onnx.ModelProto, random: Random) -> None:
    _tensor(model, random).name = random.choice(_names(model))


def send_constant_away(model: onnx.ModelProto, random: Random) -> None:
    tensor = _tensor(model, random)
    tensor.data_location = TensorProto.EXTERNAL
    location = random.choice(("../secret", "/etc/passwd", "missing.bin", "", "model.onnx"))
    tensor.external_data.add(key="location", value=location)


# Edges and versions


def change_edge(model: onnx.ModelProto, random: Random) -> None:
    edges = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not edges:
        return
    edge = random.choice(edges)
    dims = edge.type.tensor_type.shape.dim
    what = random.randrange(6)
    if what == 0:
        edge.type.tensor_type.elem_type = random.randrange(30)
    elif what == 1:
        edge.ClearField("type")
    elif what == 2:
        edge.name = random.choice(_names(model))
    elif what == 3:
        edge.type.tensor_type.ClearField("shape")
    elif what == 4 and dims:
        dims[random.randrange(len(dims))].dim_value = random.choice(WHOLE)
    else:
        dims.add().dim_value = random.choice(WHOLE)


def size_edge(model: onnx.ModelProto, random: Random) -> None:
    """Inputs of another size."""
    dims = [d for value in model.graph.input for d in value.type.tensor_type.shape.dim]
    for dim in random.sample(dims, min(len(dims), 2)):
        dim.dim_value = random.randint(1, 12)


def drop_edge(model: onnx.ModelProto, random: Random) -> None:
    edges = random.choice((model.graph.input, model.graph.output))
    if edges:
        del edges[random.randrange(len(edges))]


def add_edge(model: onnx.ModelProto, random: Random) -> None:
    shape = random.choice((None, [], ["N"], [2, 3], [0], [2**40, 2**40]))
    kind = random.choice((TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64, 0, 99))
    value = helper.make_tensor_value_info(random.choice(_names(model)), kind, shape)
    random.choice((model.graph.input, model.graph.output, model.graph.value_info)).append(value)


def change_version(model: onnx.ModelProto, random: Random) -> None:
    versions = (0, 1, 7, 9, 10, 12, 13, 18, 19, 20, 21, 23, 25, 26, 28, 99, *WHOLE)
    if random.random() < 0.3:
        model.ir_version = random.choice(versions)
    elif random.random() < 0.3 and model.opset_import:
        del model.opset_import[random.randrange(len(model.opset_import))]
    else:
        if not model.opset_import or random.random() < 0.2:
            domain = random.choice(("", "ai.onnx", "com.microsoft", "own"))
            model.opset_import.add(domain=domain, version=1)
        random.choice(model.opset_import).version = random.choice(versions)


# Anything


def any_field(model: onnx.ModelProto, random: Random) -> None:
    """Some field of some message, whatever it is: emptied, doubled, or given to its neighbour."""
    message: Message = model
    for _ in range(random.randint(0, 6)):
        inner = [(f, v) for f, v in message.ListFields() if f.message_type is not None and v]
        if not inner:
            break
        field, value = random.choice(inner)
        message = value if isinstance(value, Message) else random.choice(value)
    stated = message.ListFields()
    if not stated:
        return
    field, value = random.choice(stated)
    if isinstance(value, int):
        setattr(message, field.name, random.choice((0, 1, 2, 5, 9)))
    elif isinstance(value, (Message, str, bytes, float)) or random.random() < 0.3:
        message.ClearField(field.name)
    else:
        value.extend([random.choice(value)])


STRUCTURE: tuple[Damage, ...] = (
    drop_node, repeat_node, move_node, rename_input, rename_input, rename_output, loop_back,
    drop_input, swap_inputs, more_ends, drop_outputs, other_operator, other_operator,
    drop_attribute, set_attribute, set_attribute, set_attribute, nudge_attribute, nudge_attribute,
    nudge_attribute, type_attribute, drop_constant, nudge_values, nudge_values, size_edge,
    size_edge,
    other_constant, other_constant, change_values, change_values, spoil_scale, retype_constant,
    reshape_constant, cut_constant, rename_constant, send_constant_away, change_edge, change_edge,
    drop_edge, add_edge, change_version, any_field, any_field,
)  # fmt: skip
"""What happens often stands twice."""
