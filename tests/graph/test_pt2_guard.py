"""A ``.pt2`` is opened without running anything it carries."""

from __future__ import annotations

import io
import json
import logging
import pickle
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deployq.errors import InputError, UnsafeFileError
from deployq.graph.pt2_guard import open_pt2

MODEL, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
CONFIG = "data/weights/model_weights_config.json"
SHAPE = ({0: torch.export.Dim.AUTO},)
Members = dict[str, bytes]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.shift = torch.ones(2, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            y = self.norm(self.conv(x)) + self.shift
        y = torch.div(y.reshape(-1, 2), 3.0, rounding_mode="floor")
        return {"y": torch.cat([y, y[1:]]) * (x.shape[0] + 1), "z": x}


@pytest.fixture(scope="module")
def members() -> Members:
    buffer = io.BytesIO()
    torch.manual_seed(0)
    program = torch.export.export(Net().eval(), (torch.randn(2, 1, 8, 8),), dynamic_shapes=SHAPE)
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, root: str = "m", how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(f"{root}/{name}", data)
    return path


@pytest.fixture
def opened(tmp_path: Path, members: Members) -> Callable[..., torch.export.ExportedProgram]:
    """Opens the good archive with some members replaced; None removes one."""

    def run(**changes: bytes | None) -> torch.export.ExportedProgram:
        changed = {**members, **changes}
        path = tmp_path / "m.pt2"
        return open_pt2(write(path, {n: d for n, d in changed.items() if d is not None}))

    return run


class Planted:
    """Unpickling this makes a file: what a malicious pickle would do, made harmless."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def planted(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Planted(marker),), {}), buffer)
    return buffer.getvalue()


def code(marker: Path) -> str:
    return f"__import__('pathlib').Path('{marker}').touch()"


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from walk(item)


def first(value: Any, key: str) -> dict[str, Any]:
    return next(entry for entry in walk(value) if key in entry)


def test_a_saved_program_computes_the_same(tmp_path: Path) -> None:
    net, x = Net().eval(), torch.randn(5, 1, 8, 8)
    program = torch.export.export(net, (torch.randn(2, 1, 8, 8),), dynamic_shapes=SHAPE)
    torch.export.save(program, tmp_path / "m.pt2")
    back = open_pt2(tmp_path / "m.pt2")
    assert torch.equal(back.module()(x)["y"], net(x)["y"])
    assert back.graph_signature == program.graph_signature
    assert back.example_inputs is None
    stacks = [
        node.meta["nn_module_stack"] for node in back.graph.nodes if node.name == "batch_norm"
    ]
    assert all("norm" in str(stack) for stack in stacks)


def test_no_source_paths_are_kept(opened: Callable[..., torch.export.ExportedProgram]) -> None:
    assert all("stack_trace" not in node.meta for node in opened().graph.nodes)


def test_sample_inputs_are_never_unpickled(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    opened: Callable[..., torch.export.ExportedProgram],
) -> None:
    marker = tmp_path / "marker"
    opened(**{SAMPLES: planted(marker)}).module()
    assert not marker.exists()
    caplog.set_level(logging.ERROR, "torch._export.serde.serialize")
    torch.export.load(tmp_path / "m.pt2")  # the danger is real: torch itself runs it
    assert marker.exists()


def test_archives_without_sample_inputs_open(
    opened: Callable[..., torch.export.ExportedProgram],
) -> None:
    assert opened(**{SAMPLES: None}).example_inputs is None


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/net.so",
        "extra/run.py",
        "data/weights/model.pt",
        "models/other.json",
        "data/constants/model.pt",
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/executorch/x",
        "xl_model_weights/w",
        "data.pkl",
        "weight_0",
        "data/weights/weight_0\n",
    ],
)
def test_other_members_are_refused(
    tmp_path: Path, opened: Callable[..., torch.export.ExportedProgram], name: str
) -> None:
    with pytest.raises(UnsafeFileError, match=r"plain program|safe name"):
        opened(**{name: planted(tmp_path / "marker")})
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"use_pickle": True},
        {"use_pickle": 1},
        {"use_pickle": None},
        {"path_name": "opaque_obj_0"},
        {"path_name": "../constants/tensor_0"},
    ],
)
def test_pickled_weights_are_refused(
    tmp_path: Path,
    members: Members,
    opened: Callable[..., torch.export.ExportedProgram],
    config: dict[str, object],
) -> None:
    changed = json.loads(members[CONFIG])
    first(changed, "use_pickle").update(config)
    with pytest.raises(UnsafeFileError, match=r"raw, not pickled|name has letters"):
        opened(
            **{
                CONFIG: json.dumps(changed).encode(),
                "data/weights/weight_0": planted(tmp_path / "marker"),
            }
        )
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.serialization.os.system",
        "torch.load",
        "torch.ops.mine.op.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "_operator.methodcaller",
        "torch.ops.aten.relu.default\n",
        "torch.ops.higher_order.cond",
        "#mine:op",
        "math.floor",
        "torch.ops.aten.no_such.default",
    ],
)
def test_only_aten_operators_are_called(
    members: Members, opened: Callable[..., torch.export.ExportedProgram], target: str
) -> None:
    program = json.loads(members[MODEL])
    first(program, "target")["target"] = target
    with pytest.raises(UnsafeFileError, match="aten operators only"):
        opened(**{MODEL: json.dumps(program).encode()})


def tree(kind: str, context: object) -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


# Strings that torch would evaluate, execute or import, by key; {} becomes a Python expression.
STRINGS = [
    ("expr_str", "{}"),
    ("expr_str", "Symbol({})"),
    ("expr_str", "Symbol('s0', integer={})"),
    ("expr_str", "Pow(Integer(9), Integer(99))"),
    ("expr_str", "Add(*[1])"),
    ("expr_str", "(" * 900),
    ("expr_str", "Symbol('{}')"),
    ("expr_str", "1 +"),
    ("expr_str", "-Symbol('s0')"),
    ("expr_str", "Add(" + "1, " * 900 + ")"),
    ("expr_str", "Integer.mro()"),
    ("expr_str", "s0"),
    ("name", "x = {}"),
    ("as_name", "{}"),
    ("name", "a.b"),
    ("parameter_name", 'a"] + {} + ["'),
    ("as_string", "' + {} + '"),
    ("forward_arg_names", ["x={}"]),
    ("fqn", "{}"),
    ("in_spec", tree("collections.defaultdict", {"default_factory_module": "antigravity"})),
    ("in_spec", tree("builtins.dict", '[{"__enum__": true, "fqn": "antigravity:x"}]')),
    ("in_spec", tree("builtins.dict", '{"__enum__": true, "fqn": "antigravity:x"}')),
    ("out_spec", tree("builtins.dict", '["{}"]')),
    ("out_spec", "[2, null]"),
    ("out_spec", "[1, [null]]"),
    ("out_spec", '[1, {"children_spec": 1}]'),
]


@pytest.mark.parametrize(("key", "text"), STRINGS, ids=range(len(STRINGS)))
def test_strings_that_torch_would_run_are_refused(
    tmp_path: Path,
    members: Members,
    opened: Callable[..., torch.export.ExportedProgram],
    key: str,
    text: str | list[str],
) -> None:
    program, marker = json.loads(members[MODEL]), tmp_path / "marker"
    filled = json.loads(json.dumps(text).replace("{}", json.dumps(code(marker))[1:-1]))
    first(program, key)[key] = filled
    with pytest.raises(UnsafeFileError):
        opened(**{MODEL: json.dumps(program).encode()}).module()
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "Add(Pow(Symbol('s0', integer=True), Integer(2)), Integer(-1))",
        "Float('2.5', precision=53)",
        "Max(1, FloorDiv(Symbol('s77', positive=True), 2))",
    ],
)
def test_arithmetic_on_symbols_is_allowed(text: str) -> None:
    from deployq.graph.pt2_program import clean_json

    assert clean_json("here", {"expr_str": text}) == {"expr_str": text}


def test_names_of_values_in_mappings_have_rules_too(
    members: Members, opened: Callable[..., torch.export.ExportedProgram]
) -> None:
    program = json.loads(members[MODEL])
    program["graph_module"]["graph"]["tensor_values"]["a = 1"] = {}
    with pytest.raises(UnsafeFileError, match="a name has letters"):
        opened(**{MODEL: json.dumps(program).encode()})


def test_guards_are_dropped_not_run(
    tmp_path: Path, members: Members, opened: Callable[..., torch.export.ExportedProgram]
) -> None:
    program, marker = json.loads(members[MODEL]), tmp_path / "marker"
    program["guards_code"] = [f"{code(marker)} is None"]
    program["graph_module"]["metadata"] = {"custom": "{}"}
    opened(**{MODEL: json.dumps(program).encode()}).module()(torch.randn(3, 1, 8, 8))
    assert not marker.exists()


def test_compressed_members_and_bombs(
    tmp_path: Path, members: Members, opened: Callable[..., torch.export.ExportedProgram]
) -> None:
    packed = write(tmp_path / "a.pt2", members, how=zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeFileError, match="uncompressed"):
        open_pt2(packed)
    with pytest.raises(InputError, match=r"limit\n.*bytes\n.*at most 1000 bytes"):
        open_pt2(write(tmp_path / "b.pt2", members), max_bytes=1000)


def test_unsafe_archives(tmp_path: Path, members: Members) -> None:
    for index, name in enumerate(("../a", "/a", "a\\b")):
        with pytest.raises(UnsafeFileError, match="safe name"):
            open_pt2(
                write(tmp_path / f"{index}.pt2", {**members, name: b""}, "/" if index else "..")
            )
    link = zipfile.ZipInfo("m/byteorder")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(write(tmp_path / "l.pt2", members), "a") as archive, pytest.warns():
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeFileError, match="symbolic link"):
        open_pt2(tmp_path / "l.pt2")
    with zipfile.ZipFile(write(tmp_path / "d.pt2", members), "a") as archive, pytest.warns():
        archive.writestr("m/byteorder", "little")
    with pytest.raises(UnsafeFileError, match="twice"):
        open_pt2(tmp_path / "d.pt2")


def test_a_second_root_is_refused(tmp_path: Path, members: Members) -> None:
    with zipfile.ZipFile(write(tmp_path / "m.pt2", members), "a") as archive:
        archive.writestr("n/byteorder", "little")
    with pytest.raises(UnsafeFileError, match="plain program"):
        open_pt2(tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (MODEL, None, "no models/model.json"),
        ("archive_version", b"9", "another format"),
        ("byteorder", b"big", "another format"),
        (MODEL, b"no json", "not JSON"),
        (MODEL, b"[" * 99_999, "not JSON|too deep"),
        (MODEL, b'{"a":' * 900 + b"1" + b"}" * 900, "too deep"),
        (MODEL, b"{}", "torch cannot load"),
        (CONFIG, b"[]", "payload configuration"),
        ("data/weights/weight_0", None, "data is missing"),
        ("data/weights/weight_0", b"", "is empty"),
        ("data/weights/weight_0", b"1234", "torch cannot load"),
    ],
)
def test_broken_archives(
    opened: Callable[..., torch.export.ExportedProgram], name: str, data: bytes | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        opened(**{name: data})


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "m.pt2").write_bytes(pickle.dumps(Planted(marker)))
    with pytest.raises(InputError, match="not a zip archive"):
        open_pt2(tmp_path / "m.pt2")
    with pytest.raises(InputError, match="cannot read"):
        open_pt2(tmp_path / "none.pt2")
    torch.save(Planted(marker), tmp_path / "p.pt2")
    with pytest.raises(UnsafeFileError, match="plain program"):
        open_pt2(tmp_path / "p.pt2")
    assert not marker.exists()
