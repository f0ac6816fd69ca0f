"""The prepared model on disk: the same model comes back, the same bytes go out, no code hides."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from deployq.arithmetic.contract import QDQ
from deployq.errors import InputError, UnsafeFileError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.codes import evaluate_codes
from deployq.graph.prepared_files import (
    GRAPH_FILE,
    TENSOR_FILE,
    load_prepared_model,
    save_prepared_model,
)
from deployq_calibration import calibrate_model
from tests.graph.networks import (
    TARGETS,
    Net,
    Residual,
    TwoInputs,
    calibrated,
    conv,
    images,
    parts,
    prepared_for,
    residual_for,
)

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    save_prepared_model(residual_for("int8-npu"), folder)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_model_comes_back(target: str, tmp_path: Path) -> None:
    prepared, x = residual_for(target), images()
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    assert (loaded.plan, loaded.inputs) == (prepared.plan, prepared.inputs)
    assert loaded.profile == prepared.profile
    assert torch.equal(loaded.module(x), prepared.module(x))
    found, expected = evaluate_codes(loaded, QDQ, x), evaluate_codes(prepared, QDQ, x)
    assert found.keys() == expected.keys()
    assert all(torch.equal(codes, expected[name]) for name, codes in found.items())


def test_training_goes_on_where_it_was(tmp_path: Path) -> None:
    prepared = residual_for("int8-npu")
    prepared.quantizers()["stem"].learn_scale()
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    wanted = [name for name, p in prepared.module.named_parameters() if p.requires_grad]
    assert {name for name, p in loaded.module.named_parameters() if p.requires_grad} == set(wanted)
    loaded.module.train()(images()).sum().backward()
    assert loaded.quantizers()["stem"].scale.grad is not None


def test_shared_weights_stay_shared_and_tuples_tuples(tmp_path: Path) -> None:
    def body(m: Any, x: torch.Tensor) -> Any:
        y = F.relu(m.conv(x))
        return m.conv(y), y

    prepared = calibrated(Net(body, conv=conv(3, 3)), "int8-npu")
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    assert sum(p.numel() == 81 for p in loaded.module.parameters()) == 1
    assert isinstance(loaded.module(images()), tuple)
    assert all(map(torch.equal, loaded.module(images()), prepared.module(images())))


def test_two_inputs_come_back(tmp_path: Path) -> None:
    pair = (images(seed=1), images(seed=2))
    prepared = prepared_for(capture(TwoInputs(), pair), "int8-npu")
    calibrate_model(prepared, lambda: [pair])
    save_prepared_model(prepared, tmp_path)
    loaded = load_prepared_model(tmp_path)
    assert list(loaded.inputs) == ["left", "right"]
    assert all(map(torch.equal, parts(loaded.module(*pair)), parts(prepared.module(*pair))))


def test_inputs_come_back_in_the_order_of_the_network(tmp_path: Path) -> None:
    class Swapped(TwoInputs):
        def forward(self, right: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(left, right)

    pair = (images(seed=1), images(seed=2))
    prepared = prepared_for(capture(Swapped(), pair), "int8-npu")
    calibrate_model(prepared, lambda: [pair])
    save_prepared_model(prepared, tmp_path)
    assert list(load_prepared_model(tmp_path).inputs) == ["right", "left"]


def test_a_tensor_may_bear_the_name_of_a_method_of_modules(tmp_path: Path) -> None:
    class Typed(Residual):
        def forward(self, type: Tensor) -> Tensor:
            return super().forward(type)

    prepared = prepared_for(capture(Typed(), (images(),)), "int8-npu")
    calibrate_model(prepared, lambda: [(images(),)])
    save_prepared_model(prepared, tmp_path)
    assert load_prepared_model(tmp_path).plan == prepared.plan
    assert "type" in prepared.grids()


def test_the_same_bytes_in_any_folder(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b" * 40):
        folder = tmp_path / name
        folder.mkdir()
        save_prepared_model(residual_for("int4-npu"), folder)
        contents.append([(folder / file).read_bytes() for file in (GRAPH_FILE, TENSOR_FILE)])
    assert contents[0] == contents[1]
    for data in contents[0]:
        for path in (tmp_path, Path.cwd(), Path(__file__).parent, Path(torch.__file__).parent):
            assert str(path).encode() not in data


# Edits of the graph. A sentinel file would betray that something ran.
RUN = "__import__('pathlib').Path('ran').touch()"


def node(facts: dict[str, Any], operation: str) -> dict[str, Any]:
    return next(n for n in facts["graph"]["nodes"] if n["op"] == operation)


def set_node(operation: str, key: str, value: Any) -> Edit:
    return lambda facts: node(facts, operation).update({key: value})


def unit(facts: dict[str, Any]) -> dict[str, Any]:
    nodes = facts["graph"]["nodes"]
    return next(n for n in nodes if n["target"].startswith("deployq.layers."))


def rename_module(facts: dict[str, Any]) -> None:
    name = f'x"), {RUN}, ("'
    call = node(facts, "call_module")
    facts["graph"]["modules"][name] = facts["graph"]["modules"].pop(call["target"])
    call["target"] = name


UNSAFE: dict[str, Edit] = {
    "from_file": set_node("call_function", "target", "aten.from_file.default"),
    "python function": set_node("call_function", "target", "os.system"),
    "call by method": set_node("call_function", "op", "call_method"),
    "module type": lambda f: next(iter(f["graph"]["modules"].values())).update(type="Lambda"),
    "module path": rename_module,
    "input default": set_node("placeholder", "target", f"x={RUN}"),
    "input argument": set_node("placeholder", "args", [1]),
    "input keyword": set_node("placeholder", "target", "import"),
    "node name": set_node("call_function", "name", f"x = {RUN}"),
    "node name of 10 000 letters": set_node("call_function", "name", "x" * 10_000),
    "tensor path": set_node("get_attr", "target", f'x"), {RUN}, ("'),
    "argument name": set_node("call_function", "kwargs", {f"x={RUN}, y": 1}),
    "argument name that is none": set_node("call_function", "kwargs", {"lambda": 1}),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_refuses_code(kind: str, saved: Path, tmp_path: Path, monkeypatch: Any) -> None:
    facts = json.loads((saved / GRAPH_FILE).read_text())
    UNSAFE[kind](facts)
    write(facts, saved, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFileError, match="next: prepare the model again"):
        load_prepared_model(tmp_path)
    assert not (tmp_path / "ran").exists()


def write(facts: dict[str, Any], saved: Path, folder: Path) -> None:
    (folder / GRAPH_FILE).write_text(json.dumps(facts))
    (folder / TENSOR_FILE).write_bytes((saved / TENSOR_FILE).read_bytes())


BROKEN: dict[str, Edit] = {
    "format": lambda f: f.update(format=99),
    "no plan": lambda f: f.pop("plan"),
    "no profile": lambda f: f.pop("profile"),
    "unknown tensor": set_node("get_attr", "target", "stem.nothing"),
    "a method for a tensor": set_node("get_attr", "target", "load_state_dict"),
    "unknown module": set_node("call_module", "target", "deployq.activations.nothing"),
    "a later node": set_node("call_module", "args", [{"node": "output"}]),
    "nodes of text": lambda f: f["graph"].update(nodes=["x"]),
    "bits of text": lambda f: next(iter(f["graph"]["modules"].values()))["config"].update(bits="8"),
    "no digest": lambda f: f.pop("tensors_sha256"),
    "an input more": lambda f: f["inputs"].update(other=[0, 3]),
    "no inputs": lambda f: f.update(inputs={}),
    "a layer less": lambda f: f["plan"]["layers"].pop(),
    "a layer twice": lambda f: f["plan"]["layers"].append(f["plan"]["layers"][0]),
    "a layer of another name": lambda f: unit(f).update(tensor="other"),
    "a grid less": lambda f: f["plan"]["tensors"].pop(),
    "a quantizer less": lambda f: f["plan"]["tensors"][0].update(name="other"),
    "a python word": lambda f: f["graph"]["nodes"][-1].update(args=[{"float": "x"}]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_refuses_facts_that_make_no_model(kind: str, saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / GRAPH_FILE).read_text())
    BROKEN[kind](facts)
    write(facts, saved, tmp_path)
    with pytest.raises(InputError, match="next: prepare the model again") as raised:
        load_prepared_model(tmp_path)
    assert not isinstance(raised.value, UnsafeFileError) and str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_refuses_what_is_no_json_object(text: str, tmp_path: Path) -> None:
    (tmp_path / GRAPH_FILE).write_text(text)
    with pytest.raises(InputError, match=GRAPH_FILE):
        load_prepared_model(tmp_path)


@pytest.mark.parametrize("file", [GRAPH_FILE, TENSOR_FILE])
def test_refuses_a_missing_file(file: str, saved: Path, tmp_path: Path) -> None:
    write(json.loads((saved / GRAPH_FILE).read_text()), saved, tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match="next: prepare the model again"):
        load_prepared_model(tmp_path)


def test_refuses_tensors_of_another_model(saved: Path, tmp_path: Path) -> None:
    other = calibrated(Net(lambda m, x: m.stem(x), stem=conv(3, 4)), "int8-npu")
    save_prepared_model(other, tmp_path)
    (tmp_path / GRAPH_FILE).write_bytes((saved / GRAPH_FILE).read_bytes())
    match = r"(?s)belong together.*found: prepared\.safetensors.*next: prepare the model again"
    with pytest.raises(InputError, match=match):
        load_prepared_model(tmp_path)


def test_a_save_that_is_cut_off_is_noticed(tmp_path: Path, monkeypatch: Any) -> None:
    prepared = residual_for("int8-npu")
    save_prepared_model(prepared, tmp_path)
    prepared.quantizers()["stem"].scale.data.mul_(2.0)
    replace = os.replace

    def once(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        save_prepared_model(prepared, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [GRAPH_FILE, TENSOR_FILE]
    with pytest.raises(InputError, match="belong together"):
        load_prepared_model(tmp_path)


def test_refuses_tensors_of_other_shapes(saved: Path, tmp_path: Path) -> None:
    tensors = {name: t[None] for name, t in load_file(saved / TENSOR_FILE).items()}
    save_file(tensors, tmp_path / TENSOR_FILE)
    facts = json.loads((saved / GRAPH_FILE).read_text())
    facts["tensors_sha256"] = hashlib.sha256((tmp_path / TENSOR_FILE).read_bytes()).hexdigest()
    (tmp_path / GRAPH_FILE).write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"(?s)belong together.*size mismatch"):
        load_prepared_model(tmp_path)


def test_refuses_to_write_what_could_not_be_read(tmp_path: Path) -> None:
    prepared = residual_for("int8-npu")
    with prepared.module.graph.inserting_before(next(iter(reversed(prepared.module.graph.nodes)))):
        prepared.module.graph.call_function(torch.ops.aten.logit.default, (1.0,))
    with pytest.raises(UnsupportedError, match=r"(?s)logit.*known ATen calls.*next: replace"):
        save_prepared_model(prepared, tmp_path)
    assert not list(tmp_path.iterdir())
