"""Capture: the user's network, to the bit, with the user's names, in both modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.errors import InputError, UnsupportedError
from deployq.graph.capture import capture, graph_from_program
from tests.graph.networks import (
    Net,
    TwoInputs,
    calls_of,
    conv,
    graph_of,
    images,
    parts,
    residual,
    with_statistics,
)

FREE = ({0: torch.export.Dim.DYNAMIC},)


def exported(model: nn.Module, shapes: object = FREE) -> torch.export.ExportedProgram:
    return torch.export.export(model, (images(2),), dynamic_shapes=shapes)  # type: ignore[arg-type]


def names(graph: torch.fx.GraphModule) -> list[str]:
    return [str(n.meta["name"]) for n in graph.graph.nodes if n.op.startswith("call")]


def test_output_is_bit_equal_and_names_are_the_users() -> None:
    model = residual()
    graph = capture(model, [images(1)])
    assert torch.equal(graph(images()), model(images()))
    assert graph.state_dict().keys() == model.state_dict().keys()
    assert {n for n, _ in graph.named_parameters()} == {n for n, _ in model.named_parameters()}


def test_parameters_are_the_users_own_objects() -> None:
    model = residual()
    graph = capture(model, [images(2)])
    users = dict(model.named_parameters())
    assert all(parameter is users[name] for name, parameter in graph.named_parameters())


def test_train_and_eval_are_those_of_the_modules() -> None:
    model = residual()
    graph = capture(model, [images(2)])
    model.train(), graph.train()
    torch.manual_seed(7)
    expected = model(images())
    torch.manual_seed(7)  # Dropout draws the same
    assert torch.equal(graph(images()), expected)
    graph(images()).sum().backward()
    assert all(p.grad is not None for p in graph.parameters())


def test_modes_of_the_model_are_put_back_one_by_one() -> None:
    model = residual().train()
    model.stem_norm.eval()
    before = [m.training for m in model.modules()]
    graph = capture(model, [images(2)])
    assert [m.training for m in model.modules()] == before
    assert not any(m.training for m in graph.modules())


def test_two_inputs_and_a_tuple() -> None:
    model, pair = TwoInputs().eval(), (images(seed=1), images(seed=2))
    graph = capture(model, [x[:1] for x in pair])
    assert [n.target for n in graph.graph.nodes if n.op == "placeholder"] == ["left", "right"]
    assert all(map(torch.equal, parts(graph(*pair)), parts(model(*pair))))


def test_the_batch_stays_free() -> None:
    graph = graph_of(lambda m, x: m.conv(x).flatten(1), conv=conv(3, 2))
    assert [graph(images(n)).shape[0] for n in (1, 3, 8)] == [1, 3, 8]


def test_tensors_outside_the_state_come_along_but_stay_outside() -> None:
    model = Net(lambda m, x: m.conv(x).mean(3) * m.gain + torch.tensor([1.0, 2.0])[:, None],
                conv=conv(3, 2)).eval()  # fmt: skip
    model.register_buffer("gain", torch.tensor(2.0), persistent=False)
    graph = capture(model, [images(2)])
    assert torch.equal(graph(images()), model(images()))
    assert graph.state_dict().keys() == model.state_dict().keys()


def test_tied_and_unread_parameters_keep_their_names() -> None:
    model = Net(lambda m, x: m.b(m.a(x)), a=conv(3, 3), b=conv(3, 3), unused=conv(1, 1))
    model.b.weight = model.a.weight
    graph = capture(model, [images(2)])
    assert graph.state_dict().keys() == model.state_dict().keys()
    assert graph.get_parameter("a.weight") is graph.get_parameter("b.weight")


def test_names_tell_calls_apart() -> None:
    graph = graph_of(lambda m, x: m.conv(F.relu(m.conv(x))) + x, conv=conv(3, 3))
    assert names(graph) == ["conv", "relu", "conv_1", "add"]


def test_functional_dropout_leaves_the_owners_tensors_alone() -> None:
    def body(m: nn.Module, x: Tensor) -> Tensor:
        return F.dropout(m.drop(m.conv(x)), 0.25, m.training)

    model = Net(lambda m, x: m.block(x), block=Net(body, conv=conv(3, 3), drop=nn.Dropout(0.5)))
    graph = capture(model, [images(2)])
    dropouts = [m.p for m in graph.modules() if isinstance(m, nn.Dropout)]
    assert dropouts == [0.5, 0.25] and "block.conv.weight" in graph.state_dict()


def test_a_batch_norm_called_twice_stays_one_module() -> None:
    graph = graph_of(lambda m, x: m.norm(m.a(x)) + m.norm(m.b(x)),
                     a=conv(3, 4), b=conv(3, 4), norm=nn.BatchNorm2d(4))  # fmt: skip
    assert calls_of(graph).count("BatchNorm2d") == 2
    assert sum(isinstance(m, nn.BatchNorm2d) for m in graph.modules()) == 1


def test_a_program_gives_the_same_graph_as_its_model() -> None:
    model = with_statistics(Net(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 2),
                                norm=nn.BatchNorm2d(2))).eval()  # fmt: skip
    graph = graph_from_program(exported(model))
    assert torch.equal(graph(images(2)), model(images(2)))


def test_refuses_what_cannot_be_traced() -> None:
    def branches(m: nn.Module, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"traceable by torch\.export"):
        capture(Net(branches), [images(2)])


def test_refuses_an_input_without_batch() -> None:
    with pytest.raises(InputError, match="batch as its first dimension"):
        capture(Net(lambda m, x: x + 1), [torch.tensor(1.0)])


def test_refuses_batch_statistics() -> None:
    model = Net(lambda m, x: m.norm(x), norm=nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(UnsupportedError, match=r"(?s)norm: .*batch statistics only"):
        capture(model, [images(2)])


def test_refuses_normalization_among_other_tensors() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gain = conv(3, 3), nn.Parameter(torch.ones(3))
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("variance", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(self.conv(x), self.mean, self.variance, self.gain)

    with pytest.raises(UnsupportedError, match=r"(?s)own: .*own\.mean, own\.variance"):
        capture(Net(lambda m, x: m.own(x), own=Own()), [images(2)])


def test_refuses_dropout_that_is_always_on() -> None:
    with pytest.raises(UnsupportedError, match="always on"):
        graph_of(lambda m, x: F.dropout(m.conv(x), 0.5, True), conv=conv(3, 2))


def test_refuses_a_program_whose_batch_is_fixed() -> None:
    model = Net(lambda m, x: m.conv(x), conv=conv(3, 2)).eval()
    assert graph_from_program(exported(model))(images(5)).shape[0] == 5
    step = r"next: .*dynamic_shapes=\(\{0: torch\.export\.Dim\.DYNAMIC\},\)\)"
    with pytest.raises(InputError, match=rf"(?s)input x: .*batch fixed to 2.*{step}"):
        graph_from_program(exported(model, None))


def test_refuses_a_program_of_training_mode() -> None:
    model = Net(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 2), norm=nn.BatchNorm2d(2))
    with pytest.raises(InputError, match=r"(?s)norm: .*export after model\.eval\(\)"):
        graph_from_program(exported(model.train()))
    assert calls_of(graph_from_program(exported(model.eval())))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (lambda m, x: (m.conv(x), x), "output 1: .*the input x unchanged"),
        (lambda m, x: [m.conv(x)] * 2, "output 1: .*the same tensor as output 0"),
        (lambda m, x: (m.conv(x), m.conv.weight), "output 1: .*a constant"),
        (lambda m, x: m.conv(x) > 0, "output 0: .*numbers.*found: truths"),
    ],
)
def test_refuses_outputs_that_are_not_computed(body: Any, found: str) -> None:
    with pytest.raises(UnsupportedError, match=f"(?s){found}.*next: return it once"):
        graph_of(body, conv=conv(3, 2))


def test_refuses_an_input_that_nothing_reads() -> None:
    class Unread(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x + 1

    with pytest.raises(UnsupportedError, match=r"(?s)input mask: .*nothing reads.*next: remove"):
        capture(Unread(), [images(2), images(2)])


@pytest.mark.parametrize("momentum", [None, 0.0])
def test_refuses_a_batch_norm_whose_momentum_is_lost(momentum: float | None) -> None:
    norm = nn.BatchNorm2d(2, momentum=momentum)
    with pytest.raises(UnsupportedError, match=r"(?s)norm: .*next: give the BatchNorm a momentum"):
        graph_of(lambda m, x: m.norm(m.conv(x)), conv=conv(3, 2), norm=norm)
