"""Inputs by keyword, in dicts, and of integer ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deployq.data import Dataset, check_dataset
from deployq.errors import InputError
from deployq.graph.capture import capture, graph_from_program
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.prepared_files import load_prepared_model, save_prepared_model
from deployq.graph.pt2_guard import open_pt2
from deployq.graph.sites import find_sites
from deployq_targets import load_profile

IDS, MASK = torch.tensor([[1, 2, 3], [4, 0, 1]]), torch.ones(2, 3)


class Tokens(nn.Module):
    """Logits of masked token ids, which come in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, batch: dict[str, Tensor], *, scale: Tensor) -> dict[str, Tensor]:
        x = self.table(batch["input_ids"]) * batch["mask"][..., None]
        return {"logits": self.head(x), "scaled": x * scale[:, None, None]}


EXAMPLE = {"batch": {"input_ids": IDS, "mask": MASK}, "scale": torch.ones(2)}


def inputs_of(graph: torch.fx.GraphModule) -> dict[str, str]:
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    return {str(n.target): str(n.meta["val"].dtype) for n in nodes}


def test_dicts_and_keywords_name_the_inputs() -> None:
    model = Tokens()
    captured = capture(model, EXAMPLE)
    assert inputs_of(captured) == {
        "input_ids": "torch.int64", "mask": "torch.float32", "scale": "torch.float32",
    }  # fmt: skip
    ids, mask, scale = torch.tensor([[0, 4, 2]] * 3), torch.rand(3, 3), torch.rand(3)
    wanted = model({"input_ids": ids, "mask": mask}, scale=scale)
    found = captured(input_ids=ids, mask=mask, scale=scale)
    for output, name in zip(found, ("logits", "scaled"), strict=True):
        torch.testing.assert_close(output, wanted[name], rtol=0, atol=0)


def test_a_batch_of_one_in_a_dict_is_any_batch() -> None:
    one: dict[str, Any] = {"batch": {"input_ids": IDS[:1], "mask": MASK[:1]}}
    captured = capture(Tokens(), one | {"scale": torch.ones(1)})
    assert captured(IDS.repeat(4, 1), MASK.repeat(4, 1), torch.ones(8))[0].shape == (8, 3, 5)


def test_a_pt2_of_a_dict_has_the_same_names(tmp_path: Path) -> None:
    batch = {0: torch.export.Dim.DYNAMIC}
    shapes = {"batch": {"input_ids": batch, "mask": batch}, "scale": batch}
    kwargs = {"scale": EXAMPLE["scale"]}
    program = torch.export.export(
        Tokens().eval(), (EXAMPLE["batch"],), kwargs, dynamic_shapes=shapes
    )
    torch.export.save(program, tmp_path / "m.pt2")
    captured = graph_from_program(open_pt2(tmp_path / "m.pt2"))
    assert list(inputs_of(captured)) == ["input_ids", "mask", "scale"]


def test_ids_get_no_quantizer_and_the_rows_they_choose_do() -> None:
    captured = capture(Tokens(), EXAMPLE)
    inputs = [site.name for site in find_sites(captured).values() if site.kind == "input"]
    assert inputs == ["mask", "scale"]
    prepared = prepare_graph(captured, load_profile("ort-cpu"))
    assert "table" in {name for grid in prepared.plan.tensors for name in grid.tensors}
    assert "input_ids" not in prepared.grids()


class Keyed(nn.Module):
    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.keys = keys

    def forward(self, batch: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
        total = sum(torch.relu(batch[key]) for key in self.keys)
        assert isinstance(total, Tensor)
        return total + sum(other.values())


@pytest.mark.parametrize(
    ("keys", "other", "text"),
    [
        (("a-b",), "x", "found: 'a-b'"),
        (("class",), "x", "found: 'class'"),
        (("x",), "x", "input x: .*two of this name"),
    ],
)
def test_keys_that_are_no_names(keys: tuple[str, ...], other: str, text: str) -> None:
    example = {"batch": {key: MASK for key in keys}, "other": {other: MASK}}
    with pytest.raises(InputError, match=f"(?s){text}.*next: rename the key"):
        capture(Keyed(*keys), example)


def test_types_of_inputs_are_saved_and_checked(tmp_path: Path) -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc(x)
            return y

    plain = prepare_graph(capture(Sized(), [MASK]), load_profile("ort-cpu"))
    assert plain.input_types == {}
    typed = PreparedModel(plain.module, plain.plan, plain.inputs, plain.profile, {"x": "int64"})
    save_prepared_model(typed, tmp_path)
    loaded = load_prepared_model(tmp_path)
    assert loaded.input_dtypes() == {"x": np.dtype(np.int64)}
    check_dataset(loaded.inputs, Dataset({"x": IDS.numpy()}), loaded.input_dtypes())
    with pytest.raises(InputError, match=r"(?s)found: float32.*allowed: int64"):
        check_dataset(loaded.inputs, Dataset({"x": MASK.numpy()}), loaded.input_dtypes())
    text = (tmp_path / "prepared.json").read_text()
    (tmp_path / "prepared.json").write_text(text.replace('"int64"', '"int65"'))
    with pytest.raises(InputError, match=r"(?s)belong together.*int65"):
        load_prepared_model(tmp_path)
