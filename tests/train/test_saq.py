"""Sharpness-aware quantization: the perturbation of each case, and what a step leaves behind."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import deployq
from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import SAQ, learn_scales
from tests.graph.networks import Net, calibrated, conv, images, prepared_for, residual_graph
from tests.train.loops import batch, closure, learning, same, sgd, smooth, state

ONLY_WEIGHTS = {"biases": False, "norms": False}


def perturbations(prepared: PreparedModel) -> dict[str, Tensor]:
    units = prepared.units().items()
    return {n: u.perturbation for n, u in units if u.perturbation is not None}


def climbed(prepared: PreparedModel, **settings: object) -> tuple[SAQ, dict[str, Tensor]]:
    """A step up to its second pass, and the perturbation there."""
    saq = SAQ(prepared, sgd(prepared), radius=0.5, **settings)  # type: ignore[arg-type] # of any kind
    saq.start()
    closure(prepared.module, *batch())()
    assert saq.ascend()
    return saq, perturbations(prepared)


def quantized(prepared: PreparedModel) -> dict[str, Tensor]:
    calls = linear_calls(prepared)
    return {c.name: c.unit.weight_quantizer(c.weight).detach().requires_grad_() for c in calls}


def test_case_3_climbs_along_the_gradient_at_the_quantized_weights() -> None:
    prepared = smooth()
    codes, calls = quantized(prepared), {c.name: c for c in linear_calls(prepared)}
    x, y = batch()
    hidden = functional.conv2d(x, codes["conv"], calls["conv"].rest[0], padding=1).mean((2, 3))
    loss = functional.cross_entropy(
        functional.linear(hidden, codes["head"], calls["head"].rest[0]), y
    )
    grads = dict(zip(codes, torch.autograd.grad(loss, list(codes.values())), strict=True))
    _, found = climbed(prepared, units="absolute", **ONLY_WEIGHTS)
    length = torch.stack([g.square().sum() for g in grads.values()]).sum().sqrt()
    for name, grad in grads.items():
        # the same sums in another order: a few float32 roundings
        torch.testing.assert_close(found[name], 0.5 * grad / length, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", [1, 3])
def test_the_perturbation_has_the_length_of_the_radius_in_deviations(case: int) -> None:
    prepared = smooth()
    _, found = climbed(prepared, case=case, **ONLY_WEIGHTS)
    deviations = {call.name: call.weight.detach().std() for call in linear_calls(prepared)}
    parts = [(found[name] / deviations[name]).square().sum() for name in found]
    assert float(torch.stack(parts).sum().sqrt()) == pytest.approx(0.5, rel=1e-5)


def test_a_radius_means_the_same_for_every_layer_scale() -> None:
    """Twice the weights, and a loss that does not see it: twice the perturbation."""
    moves = []
    for factor in (1.0, 2.0):
        prepared = learning()
        with torch.no_grad():  # the BatchNorm behind takes the factor out again
            prepared.module.get_parameter("wide.weight").mul_(factor)
            prepared.units()["wide"].weight_quantizer.scale.mul_(factor)
            prepared.module.get_buffer("wide_norm.running_mean").mul_(factor)
            prepared.module.get_buffer("wide_norm.running_var").mul_(factor**2)
        moves.append(climbed(prepared)[1]["wide"])
    # the epsilon of the BatchNorm weighs less against twice the deviation
    torch.testing.assert_close(moves[1], 2 * moves[0], rtol=1e-3, atol=1e-6)


def test_case_1_is_case_3_where_nothing_is_clipped_and_zero_where_it_is() -> None:
    for shrunk in (1.0, 0.5):
        found = {}
        for case in (1, 3):
            prepared = smooth()
            for call in linear_calls(prepared):
                quantizer = call.unit.weight_quantizer
                rows = call.weight.detach().abs().flatten(1).amax(1)
                with torch.no_grad():
                    quantizer.scale.copy_(rows / quantizer.qtype.qmax * shrunk)
            found[case] = climbed(prepared, case=case, units="absolute", **ONLY_WEIGHTS)[1]
            clipped = {
                c.name: ~c.unit.weight_quantizer.passes(c.weight) for c in linear_calls(prepared)
            }
        assert any(mask.any() for mask in clipped.values()) == (shrunk < 1)
        for name, mask in clipped.items():
            assert torch.equal(found[1][name][mask], torch.zeros(int(mask.sum())))
            if shrunk == 1:
                assert torch.equal(found[1][name], found[3][name])


def test_case_2_below_every_boundary_is_plain_training() -> None:
    losses: list[float] = []
    prepared = smooth()
    SAQ(prepared, sgd(prepared), radius=1e-5, case=2, **ONLY_WEIGHTS).step(
        closure(prepared.module, *batch(), losses)
    )
    plain = smooth()
    closure(plain.module, *batch())()
    sgd(plain).step()
    assert losses[0] == losses[1]
    assert same(state(prepared.module), state(plain.module))


def test_the_loss_rises_by_radius_times_norm() -> None:
    for radius in (0.01, 0.02):
        prepared = smooth()
        step = SAQ(prepared, sgd(prepared), radius=radius).step(closure(prepared.module, *batch()))
        assert step.perturbed is not None and step.norm is not None
        # curvature adds the square of the radius: 3 % of the rise at these radii
        assert float(step.perturbed - step.loss) == pytest.approx(
            radius * float(step.norm), rel=0.03
        )


def test_shares_sum_to_one_and_follow_the_switches() -> None:
    prepared = learning()
    step = SAQ(prepared, sgd(prepared), radius=0.1).step(closure(prepared.module, *batch()))
    assert set(step.shares) == {"weights", "biases", "norms"}
    assert sum(step.shares.values()) == pytest.approx(1.0, rel=1e-5)
    step = SAQ(prepared, sgd(prepared), radius=0.1, norms=False).step(
        closure(prepared.module, *batch())
    )
    assert set(step.shares) == {"weights", "biases"}
    prepared.units()["head"].weight_quantizer.learn_scale()
    step = SAQ(prepared, sgd(prepared), radius=0.1, scales=True).step(
        closure(prepared.module, *batch())
    )
    assert "scales" in step.shares


@pytest.mark.parametrize("case", [1, 2, 3])
def test_parameters_return_bit_for_bit(case: int) -> None:
    prepared = learning()
    before = {n: p.detach().clone() for n, p in prepared.module.named_parameters()}
    saq, _ = climbed(prepared, case=case)
    moved = {n for n, p in prepared.module.named_parameters() if not torch.equal(p, before[n])}
    assert ("stem.weight" in moved) == (case == 2) and "head.bias" in moved
    saq.restore()
    assert same(before, {n: p.detach() for n, p in prepared.module.named_parameters()})
    assert not perturbations(prepared)


def test_off_it_is_plain_training_bit_for_bit() -> None:
    trained = []
    for sharp in (True, False):
        prepared = learning()
        optimizer = sgd(prepared)
        saq = SAQ(prepared, optimizer, radius=0.5)
        saq.enabled = False
        for _ in range(3):
            run = closure(prepared.module, *batch())
            if sharp:
                saq.step(run)
            else:
                run()
                optimizer.step()
                optimizer.zero_grad()
        trained.append(state(prepared.module))
    assert same(*trained)


@pytest.mark.parametrize(("freeze", "passes"), [(True, 1), (False, 2)])
def test_statistics_count_a_batch_once(freeze: bool, passes: int) -> None:
    prepared, other = learning(), learning()
    saq = SAQ(prepared, sgd(prepared), radius=1e-7, freeze_norms=freeze, **ONLY_WEIGHTS)
    saq.step(closure(prepared.module, *batch()))
    for _ in range(passes):
        other.module(batch()[0])
    for name, buffer in other.module.named_buffers():
        if "running" in name:
            # a perturbation of 1e-7 shows in the last bits of the second pass
            torch.testing.assert_close(
                prepared.module.get_buffer(name), buffer, rtol=1e-4, atol=1e-5
            )
    momenta = {unit.momentum for unit in prepared.units().values()}
    assert momenta == {0.1}


def test_statistics_rest_on_steps_that_use_a_perturbation_again() -> None:
    prepared = learning()
    saq = SAQ(prepared, sgd(prepared), radius=0.1, every=2, between="reuse")
    run = closure(prepared.module, *batch())

    def statistics() -> dict[str, Tensor]:
        named = prepared.module.named_buffers()
        return {n: b.clone() for n, b in named if n.endswith(("running_mean", "running_var"))}

    seen = [statistics()]
    for _ in range(3):
        saq.step(run)
        seen.append(statistics())
    moved = [not same(a, b) for a, b in itertools.pairwise(seen)]
    assert seen[0] and moved == [True, False, True]


def test_both_passes_drop_the_same_values() -> None:
    net = Net(
        lambda m, x: m.head(m.drop(m.conv(x).mean((2, 3)))),
        conv=conv(3, 8),
        drop=nn.Dropout(0.5),
        head=nn.Linear(8, 5),
    )
    prepared = calibrated(net, "int4-npu")
    prepared.module.train()
    losses: list[float] = []
    for parameter in prepared.module.parameters():
        parameter.requires_grad_()
    SAQ(prepared, sgd(prepared), radius=1e-9).step(closure(prepared.module, *batch(), losses))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    third: list[float] = []
    closure(prepared.module, *batch(), third)()
    assert abs(third[0] - losses[0]) > 1e-3  # other values are dropped in the next step


def test_micro_batches_climb_as_one_batch_does() -> None:
    prepared, x, y = smooth(), *batch()
    whole = climbed(prepared)[1]
    prepared = smooth()
    saq = SAQ(prepared, sgd(prepared), radius=0.5)
    saq.start()
    for part in (slice(0, 4), slice(4, 8)):
        closure(prepared.module, x[part], y[part])()
    assert saq.ascend()
    for name, move in perturbations(prepared).items():
        torch.testing.assert_close(move, whole[name], rtol=1e-4, atol=1e-6)  # order of sums


def test_under_autocast() -> None:
    prepared = learning()
    saq, (x, y) = SAQ(prepared, sgd(prepared), radius=0.1), batch()

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(prepared.module(x), y)
        loss.backward()
        return loss

    step = saq.step(run)
    assert step.perturbed is not None and float(step.perturbed) > float(step.loss)


@pytest.mark.parametrize("between", ["plain", "reuse"])
def test_compiled_steps_are_eager_steps(between: str) -> None:
    trained = []
    for compiled in (False, True):
        prepared = learning()
        learn_scales(prepared)
        optimizer = torch.optim.SGD(prepared.module.parameters(), 0.01)
        net = torch.compile(prepared.module, backend="aot_eager") if compiled else prepared.module
        saq = SAQ(prepared, optimizer, radius=0.1, every=2, between=between)
        for _ in range(4):
            saq.step(closure(net, *batch()))
        trained.append(state(prepared.module))
    for name, tensor in trained[0].items():
        # decompositions round otherwise, and a code at a tie may fall to the other side
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-3, atol=1e-4)


def test_a_gradient_that_is_not_finite_takes_no_step() -> None:
    prepared, (x, y) = learning(), batch()
    saq, run = SAQ(prepared, sgd(prepared), radius=0.1), closure(prepared.module, x, y)

    def parameters() -> dict[str, Tensor]:
        named = prepared.module.named_parameters()
        return {name: parameter.detach().clone() for name, parameter in named}

    def overflowing() -> Tensor:
        loss = run()
        _overflow(prepared)
        return loss

    before = parameters()
    assert saq.step(overflowing).perturbed is None and same(parameters(), before)
    assert saq.step(run).perturbed is not None and not same(parameters(), before)


def _overflow(prepared: PreparedModel) -> None:
    for parameter in prepared.module.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(torch.inf)


def test_a_kept_direction_is_finite() -> None:
    prepared, (x, y) = learning(), batch()
    saq = SAQ(prepared, sgd(prepared), radius=0.1, every=2, between="looksam")
    run = closure(prepared.module, x, y)
    saq.start()
    run()
    assert saq.ascend()
    run()
    _overflow(prepared)  # an overflow in the second pass, which a scaler skips
    saq.restore()
    prepared.module.zero_grad()
    saq.start()
    run()
    assert not saq.ascend()
    saq.restore()
    grads = [p.grad for p in prepared.module.parameters() if p.grad is not None]
    assert grads and all(bool(grad.isfinite().all()) for grad in grads)


def test_a_scaler_sees_gradients_that_overflowed() -> None:
    prepared, (x, y) = learning(), batch()
    optimizer = sgd(prepared)
    saq, scaler = SAQ(prepared, optimizer, radius=0.1), torch.amp.GradScaler("cpu", init_scale=1e38)
    before = state(prepared.module)
    saq.start()
    scaler.scale(1e6 * functional.cross_entropy(prepared.module(x), y)).backward()
    assert not saq.ascend()
    saq.restore()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() < 1e38
    after = state(prepared.module)
    assert all(torch.equal(after[n], before[n]) for n in before if "running" not in n)


def test_evaluation_and_files_know_of_no_perturbation(tmp_path: Path) -> None:
    prepared = learning()
    prepared.module.eval()
    wanted = prepared.module(images())
    prepared.module.train()
    saq, found = climbed(prepared, norms=False, biases=False)
    assert found and set(prepared.module.state_dict()) == set(learning().module.state_dict())
    twin = copy.deepcopy(prepared.module)
    prepared.module.eval()
    statistics = {n for n, _ in prepared.module.named_buffers() if "running" in n}
    fresh = learning().module.eval()
    fresh.load_state_dict(
        {**fresh.state_dict(), **{n: prepared.module.get_buffer(n) for n in statistics}}
    )
    assert torch.equal(prepared.module(images()), fresh(images()))
    assert wanted.shape == twin(images()).shape
    saq.restore()
    deployq.save_prepared(prepared, tmp_path)
    loaded = deployq.load_prepared(tmp_path).module
    assert torch.equal(loaded(images()), prepared.module(images()))


@pytest.mark.parametrize("between", ["plain", "reuse", "looksam"])
def test_a_resumed_run_is_the_unbroken_one(between: str) -> None:
    def run(steps: int, saved: tuple[dict[str, Tensor], dict, dict] | None = None):  # type: ignore[type-arg, no-untyped-def] # plain state
        prepared = learning()
        optimizer = sgd(prepared)
        saq = SAQ(prepared, optimizer, radius=0.3, every=3, between=between)
        if saved is not None:
            prepared.module.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
            saq.load_state_dict(saved[2])
        for _ in range(steps):
            saq.step(closure(prepared.module, *batch()))
        return copy.deepcopy((state(prepared.module), optimizer.state_dict(), saq.state_dict()))

    assert same(run(7)[0], run(3, run(4))[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": 0.0}, r"radius: .*positive.*found: 0\.0"),
        ({"radius": -1.0}, r"radius: .*positive.*found: -1\.0"),
        ({"radius": float("nan")}, r"radius: .*found: nan"),
        ({"radius": 0.1, "case": 4}, r"case: .*three cases.*found: 4"),
        ({"radius": 0.1, "every": 0}, r"every: .*found: 0"),
        ({"radius": 0.1, "between": "skip"}, r"between: .*found: 'skip'.*plain, reuse, looksam"),
        ({"radius": 0.1, "units": "metres"}, r"units: .*found: 'metres'.*deviation, absolute"),
    ],
)
def test_settings_that_are_none(settings: dict[str, object], message: str) -> None:
    prepared = learning()
    with pytest.raises(InputError, match=f"(?s){message}"):
        SAQ(prepared, sgd(prepared), **settings)  # type: ignore[arg-type] # of the wrong kind on purpose


def test_a_network_without_quantized_weights() -> None:
    recipe = Recipe(layers={"*": LayerRecipe(keep_float=True)})
    prepared = prepared_for(residual_graph(), "ort-cpu", recipe)
    with pytest.raises(InputError, match=r"(?s)perturbs quantized weights.*no linear layer"):
        SAQ(prepared, torch.optim.SGD(prepared.module.parameters(), 0.1), radius=0.1)


def test_a_network_that_is_not_calibrated() -> None:
    prepared = prepared_for(residual_graph(), "int4-npu")
    with pytest.raises(InputError, match=r"(?s)stem\.weight: .*run deployq\.calibrate"):
        SAQ(prepared, torch.optim.SGD(prepared.module.parameters(), 0.1), radius=0.1)
