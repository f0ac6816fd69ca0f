"""Evol-Q: formulas, the search of one block, genes on lattices, the walk and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import deployq
from deployq.arithmetic.contract import QDQ, Form, Kind
from deployq.data import Dataset
from deployq.errors import DeployqError, InputError
from deployq.graph.codes import CodesInterpreter, real_outputs
from deployq.graph.integers import layer_integers, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq.graph.scales.lattice import ScaleLattice
from deployq.graph.scales.weight_lattice import set_weight_grid
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.batches import Batch
from deployq_calibration.evolq.fitness import FUNCTIONS, Fitness, compared, infonce
from deployq_calibration.evolq.genes import FloatGenes, Genes, MultiplierGenes, PowerGenes
from deployq_calibration.evolq.outputs import Judge
from deployq_calibration.evolq.population import Member, evolve
from deployq_calibration.evolq.settings import Codes, Mutation, Order
from deployq_calibration.evolq.sites import search_blocks

SMALL = EvolveSettings(passes=2, samples=60, batch=20, held_back=0.3)


class Attention(nn.Module):
    """Two blocks of attention and of an MLP over six tokens; five scores."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"a": nn.MultiheadAttention(8, 2, batch_first=True),
                           "m": nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))})
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            parts: Any = block
            x = x + parts["a"](x, x, x, need_weights=False)[0]
            x = x + parts["m"](x)
        scores: Tensor = self.head(x.flatten(1))
        return scores


def images(count: int = 80) -> Dataset:
    draw = np.random.default_rng(5)
    return Dataset({"x": draw.standard_normal((count, 6, 8)).astype(np.float32)}, None)


def network() -> nn.Module:
    torch.manual_seed(3)
    return Attention().eval()


@pytest.fixture
def make() -> Callable[..., tuple[PreparedModel, nn.Module]]:
    def make(target: str = "ort-cpu", bits: int | None = None) -> tuple[PreparedModel, nn.Module]:
        net = network()
        example = torch.zeros(2, 6, 8)
        prepared = deployq.prepare(net, [example], target, Recipe(bits) if bits else None)
        settings = CalibrationSettings(corrections=())
        return deployq.calibrate(prepared, images(), settings), net

    return make


def scales(prepared: PreparedModel) -> dict[str, Tensor]:
    calls = linear_calls(prepared)
    return {call.name: call.unit.weight_quantizer.qparams_scale() for call in calls}


def test_infonce_is_the_formula_of_the_released_code() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(4, 3, generator=draw), torch.randn(4, 3, generator=draw)
    tau, total = 0.7, 0.0
    rows = [[float(F.cosine_similarity(a, b, 0)) / tau for b in k] for a in q]
    for i, row in enumerate(rows):
        total += math.log(sum(map(math.exp, row))) - row[i]
    # float32 cosines of the direct computation
    assert float(infonce(q, k, tau)) == pytest.approx(2 * tau * total / 4, rel=1e-5)


@pytest.mark.parametrize("fitness", [Fitness.MSE, Fitness.COSINE, Fitness.KL])
def test_equal_outputs_are_fittest(fitness: Fitness) -> None:
    teacher = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    function = FUNCTIONS[fitness]
    least = -1.0 if fitness is Fitness.COSINE else 0.0
    assert float(function(teacher, teacher, 3.0)) == pytest.approx(least, abs=1e-12)
    assert function(teacher + 0.1 * teacher.flip(1), teacher, 3.0) > least


def test_kl_is_over_the_classes_of_each_output() -> None:
    draw = torch.Generator().manual_seed(4)
    (q, k), (r, m) = ((torch.randn(3, *n, generator=draw) for _ in "ab") for n in ((6, 4), (5,)))
    wanted = sum(
        float(F.kl_div(a.log_softmax(-1), b.log_softmax(-1), log_target=True, reduction="none")
              .sum(-1).mean())
        for a, b in ((q, k), (r, m))
    )  # fmt: skip
    batch = Batch((q,), (k, m))
    # float32 logarithms of the direct computation
    assert float(compared(Fitness.KL, (q, r), batch, 1.0)) == pytest.approx(wanted, rel=1e-5)


def test_high_temperatures_are_linear() -> None:
    draw = torch.Generator().manual_seed(2)
    q, k = torch.randn(9, 5, generator=draw), torch.randn(9, 5, generator=draw)
    tau = 1e4  # what is left out falls with 1 / tau
    linear = FUNCTIONS[Fitness.LINEAR](q, k, tau)
    assert float(infonce(q, k, tau) - linear) == pytest.approx(0, abs=1e-3)


def test_the_search_of_a_block_takes_the_earlier_of_equals() -> None:
    start = Member(1.0, torch.zeros(1, dtype=torch.float64))
    fitness = iter([1.0, 0.5, 0.5])
    draw, count = torch.Generator().manual_seed(0), iter(range(1, 9))
    settings = EvolveSettings(population=1, tournament=1)
    best = evolve(
        start, lambda genes, best: [next(fitness) for _ in genes],
        lambda genes: torch.tensor([float(next(count))], dtype=torch.float64), settings, draw,
    )  # fmt: skip
    assert (best.fitness, float(best.genes)) == (0.5, 2.0)


def test_genes_that_are_known_are_not_evaluated_again() -> None:
    start = Member(1.0, torch.zeros(1, dtype=torch.float64))
    evaluated: list[float] = []

    def evaluate(genes: Sequence[Tensor], best: float) -> list[float]:
        evaluated.extend(map(float, genes))
        return [2.0] * len(genes)

    settings = EvolveSettings(children=5)
    evolve(start, evaluate, lambda genes: genes + 1, settings, torch.Generator())
    assert evaluated == [1.0]


FIXED = Form(Kind.FIXED, multiplier_bits=6, shift_min=0, shift_max=40)
ONE = np.float32(1.0)
LATTICES: dict[str, Genes] = {
    "float": FloatGenes(),
    "powers": PowerGenes(ScaleLattice(-12, 3)),
    "multiplier": MultiplierGenes(FIXED, np.float32(0.031), np.float32(0.77)),
}


@examples(deadline=None)  # a first case imports
@given(st.sampled_from(list(LATTICES)), st.integers(0, 1000))
def test_children_stay_on_the_lattice_and_survive_the_file(name: str, seed: int) -> None:
    genes, draw = LATTICES[name], torch.Generator().manual_seed(seed)
    wished = torch.rand(7, generator=draw) * 0.1 + 1e-3
    now = genes.encode(genes.decode(genes.encode(wished)))
    for _ in range(4):
        now = genes.mutate(now, torch.ones(7, dtype=torch.bool), EvolveSettings(), draw)
        scale = genes.decode(now)  # float32, as a file has it
        assert bool((scale > 0).all())
        torch.testing.assert_close(genes.encode(scale), now, rtol=0, atol=0)
    if name == "multiplier":  # six bits of mantissa at most
        mantissa, _ = np.frexp(now.numpy())
        assert np.array_equal(np.ldexp(mantissa, 6), np.round(np.ldexp(mantissa, 6)))


def test_genes_that_are_not_chosen_stay() -> None:
    chosen = torch.tensor([True, False, True])
    for genes in LATTICES.values():
        now = genes.encode(genes.decode(genes.encode(torch.tensor([0.02, 0.03, 0.05]))))
        child = genes.mutate(now, chosen, EvolveSettings(width=0.3), torch.Generator())
        assert child[1] == now[1]


@pytest.mark.parametrize(
    ("name", "genes", "children"),
    [
        ("powers", [-12.0, 3.0], [-12.0, -11.0, 2.0, 3.0]),  # the ends of the lattice
        ("powers", [-4.0], [-5.0, -3.0]),
        ("multiplier", [40.0 / 256], [m / 256 for m in (38, 39, 40, 41, 42)]),  # 5% are two steps
    ],
)
def test_children_on_a_lattice_are_steps_to_either_side(
    name: str, genes: list[float], children: list[float]
) -> None:
    now = torch.tensor(genes, dtype=torch.float64).repeat(100)
    everywhere, draw = torch.ones(len(now), dtype=torch.bool), torch.Generator().manual_seed(0)
    found = LATTICES[name].mutate(now, everywhere, EvolveSettings(width=0.05), draw)
    assert found.unique().tolist() == children


def test_absolute_mutation_is_a_cube_around_the_scale() -> None:
    settings = EvolveSettings(mutation=Mutation.ABSOLUTE, width=1e-3)
    now = torch.full((2000,), 0.01, dtype=torch.float64)
    everywhere = torch.ones(2000, dtype=torch.bool)
    child = FloatGenes().mutate(now, everywhere, settings, torch.Generator().manual_seed(0))
    apart = (child - now).abs()
    assert apart.max() <= 1e-3 * (1 + 1e-6) and apart.max() > 0.99e-3  # float32 scales
    assert float(apart.mean()) == pytest.approx(5e-4, rel=0.1)  # 2000 draws


def test_fitness_never_rises_and_only_attention_changes(make: Any) -> None:
    prepared, net = make()
    before = scales(prepared)
    found = deployq.evolve_scales(prepared, images(), SMALL, teacher=net)
    history = (found.before, *found.history)
    assert all(b <= a for a, b in pairwise(history))
    assert found.after < found.before and len(found.held_back) == 3
    changed = {name for name, s in scales(prepared).items() if not torch.equal(s, before[name])}
    assert changed and all(".a." in name for name in changed)
    assert found.evaluations < 2 * 2 * 3 + 3  # what is known is not measured again


def naive(prepared: PreparedModel) -> Callable[..., float]:
    """Fitness by a whole run of the reference for every candidate."""

    def suffix(self: Judge, cut: Any, values: Any, best: float) -> float:
        losses = []
        for batch in self._batches:
            with torch.no_grad():
                outputs = real_outputs(CodesInterpreter(prepared, QDQ).run(*batch.inputs))
            losses.append(self._loss(batch, outputs))
        return self._mean(losses)

    return suffix


@pytest.mark.parametrize("order", list(Order))
def test_prefixes_change_no_bit(make: Any, monkeypatch: Any, order: Order) -> None:
    settings = EvolveSettings(**(vars(SMALL) | {"order": order, "activations": True}))
    (fast, net), (slow, _) = make(), make()
    quick = deployq.evolve_scales(fast, images(), settings, teacher=net)
    monkeypatch.setattr(Judge, "suffix", naive(slow))
    whole = deployq.evolve_scales(slow, images(), settings, teacher=net)
    assert quick.history == whole.history and quick.held_back == whole.held_back
    for name, tensor in fast.module.state_dict().items():
        assert torch.equal(tensor, slow.module.state_dict()[name]), name


def test_frozen_codes_stay(make: Any) -> None:
    prepared, net = make("int4-npu")
    calls = list(linear_calls(prepared))
    before = [c.unit.weight_quantizer.codes(c.seen_weight()) for c in calls]
    settings = EvolveSettings(**(vars(SMALL) | {"codes": Codes.FROZEN}))
    found = deployq.evolve_scales(prepared, images(), settings, teacher=net)
    assert found.after < found.before
    for call, codes in zip(calls, before, strict=True):
        assert torch.equal(call.unit.weight_quantizer.codes(call.seen_weight()), codes)


SHORT = """
schema = 1
name = "short"
extends = "int4-npu"
summary = "a multiplier of six bits"
[requant]
multiplier_bits = 6
"""


def test_the_targets_own_arithmetic_judges(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text(SHORT)
    (one, net), (other, _) = make(str(path)), make(str(path))
    by_file = deployq.evolve_scales(one, images(), SMALL, teacher=net)
    by_chip = deployq.evolve_scales(other, images(), SMALL, teacher=net, arithmetic="target")
    assert by_file.before != by_chip.before and by_chip.after < by_chip.before


POW2 = """
schema = 1
name = "powers"
extends = "int4-npu"
summary = "power-of-two weight scales"
[weight]
scale_form = "pow2"
"""


def on_lattice(make: Any, tmp_path: Path, table: str, **changes: Any) -> Any:
    path = tmp_path / "target.toml"
    path.write_text(table)
    prepared, net = make(str(path))
    settings = EvolveSettings(**(vars(SMALL) | changes))
    return prepared, deployq.evolve_scales(prepared, images(), settings, teacher=net)


@pytest.mark.parametrize("table", [POW2, SHORT])
@pytest.mark.parametrize("codes", list(Codes))
def test_a_lattice_is_searched_from_the_snapped_free_result_or_better(
    make: Any, tmp_path: Path, table: str, codes: Codes
) -> None:
    prepared, found = on_lattice(make, tmp_path, table, codes=codes)
    assert found.unconstrained < found.before and found.snapped is not None
    assert found.after <= min(found.before, found.snapped)
    for name, scale in scales(prepared).items():
        mantissa = np.frexp(scale.numpy())[0]
        assert table is SHORT or np.all(mantissa == 0.5), name  # powers of two
    layer_integers(prepared)  # the target takes what was written
    _, alone = on_lattice(make, tmp_path, table, codes=codes, free_passes=0)
    assert alone.snapped is None and alone.before == found.before


def test_a_free_result_that_is_the_better_start_is_taken(make: Any, tmp_path: Path) -> None:
    """From scales half as large again, a search of any scales finds more than snapping loses."""
    found = from_large_scales(make, tmp_path, free_passes=4)
    assert found.snapped < found.before  # six bits follow a search of any scales
    assert len(found.held_back) == 1 + 1 + SMALL.passes
    still = from_large_scales(make, tmp_path, passes=1, children=1, width=1e-9)
    assert still.after <= min(still.before, still.snapped)  # the lattice's search finds nothing


def from_large_scales(make: Any, tmp_path: Path, **changes: Any) -> Any:
    path = tmp_path / "target.toml"
    path.write_text(SHORT)
    prepared, net = make(str(path))
    for call in linear_calls(prepared):
        quantizer = call.unit.weight_quantizer
        set_weight_grid(prepared, call, (1.5 * quantizer.scale.detach(), quantizer.zero_point))
    settings = EvolveSettings(**(vars(SMALL) | changes))
    return deployq.evolve_scales(prepared, images(), settings, teacher=net)


def test_a_race_ends_where_a_child_is_far_behind(make: Any, monkeypatch: Any) -> None:
    computed: list[int] = []
    losses = Judge._losses

    def counted(self: Judge, part: range, outputs: Any) -> list[float]:
        computed.extend(part)
        return losses(self, part, outputs)

    monkeypatch.setattr(Judge, "_losses", counted)
    plain = vars(SMALL) | {"batch": 8, "width": 0.2}
    counts = {}
    for racing in (None, 1e9, 0.5):
        prepared, net = make()
        computed.clear()
        settings = EvolveSettings(**(plain | {"racing": racing}))
        found = deployq.evolve_scales(prepared, images(), settings, teacher=net)
        assert found.after < found.before
        counts[racing] = len(computed) / found.evaluations
    assert counts[0.5] < counts[1e9]  # batches an evaluation


def test_a_race_is_lost_after_three_batches_or_more() -> None:
    settings = EvolveSettings(racing=1.0)
    judge = Judge.__new__(Judge)
    judge._settings, judge._batches, judge._best = settings, [None] * 5, [1.0] * 5  # type: ignore[list-item]
    assert not judge._is_lost([9.0, 9.0], 1.0)  # too few to say
    assert judge._is_lost([9.0, 9.0, 9.0], 1.0)
    assert not judge._is_lost([0.9, 1.1, 1.0], 1.0)
    assert not judge._is_lost([9.0, 9.0, 9.0], math.inf)  # nothing to race against
    assert judge._is_lost([1.0, math.inf], math.inf)  # the target refused a batch


def test_patience_leaves_the_scales_of_the_best_pass(make: Any) -> None:
    facts = vars(SMALL) | {"passes": 30, "patience": 1, "width": 0.4}
    (prepared, net), (short, _) = make(), make()
    found = deployq.evolve_scales(prepared, images(), EvolveSettings(**facts), teacher=net)
    assert "without a better held-back" in found.stopped
    best = found.held_back.index(min(found.held_back))
    assert 0 < best == len(found.held_back) - 2  # one pass behind it, and no more
    assert found.held_back_after == min(found.held_back)
    until = EvolveSettings(**(facts | {"passes": best, "patience": 0}))
    wanted = deployq.evolve_scales(short, images(), until, teacher=net)
    assert found.after == wanted.after
    assert all(torch.equal(s, scales(short)[n]) for n, s in scales(prepared).items())
    (long, _), passes = make(), len(found.held_back) - 1
    never = EvolveSettings(**(facts | {"passes": passes, "patience": passes + 1}))
    unstopped = deployq.evolve_scales(long, images(), never, teacher=net)
    assert (unstopped.stopped, unstopped.after) == ("", found.after)
    assert unstopped.held_back_after == found.held_back_after
    assert all(torch.equal(s, scales(long)[n]) for n, s in scales(prepared).items())


def test_a_gain_within_the_margin_leaves_the_start(make: Any) -> None:
    (prepared, net), (untouched, _) = make(), make()
    settings = EvolveSettings(**vars(SMALL) | {"patience": 1, "held_back": 0.5, "margin": 1e9})
    found = deployq.evolve_scales(prepared, images(), settings, teacher=net)
    assert "1 passes without" in found.stopped and found.after == found.before
    assert found.held_back_after == found.held_back[0]
    assert all(torch.equal(s, scales(untouched)[n]) for n, s in scales(prepared).items())


def test_a_second_start_is_no_pass(make: Any, tmp_path: Path) -> None:
    facts = {"passes": 3, "patience": 1, "width": 0.3}
    for seed in range(3):  # whichever start the held-out batch prefers
        _, found = on_lattice(make, tmp_path, SHORT, seed=seed, **facts)
        assert found.history


@pytest.mark.parametrize(("changes", "where"), [
    ({"population": 0}, "population"), ({"children": 0}, "children"), ({"batch": 1}, "batch"),
    ({"width": 0.0}, "width"), ({"tau": -1.0}, "tau"), ({"held_back": 1.0}, "held_back"),
    ({"order": "sideways"}, "order"), ({"fitness": "l1"}, "fitness"), ({"passes": 0}, "passes"),
    ({"free_passes": -1}, "free_passes"), ({"tau": math.inf}, "tau"),
    ({"width": math.nan}, "width"), ({"racing": -1.0}, "racing"), ({"racing": math.inf}, "racing"),
    ({"patience": 1, "held_back": 0.0}, "patience"), ({"margin": 1.0}, "margin"),
    ({"margin": -1.0, "patience": 1}, "margin"), ({"seed": 1 << 64}, "seed"),
    ({"together": 0}, "together"),
])  # fmt: skip
def test_sizes_that_make_no_sense_are_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)^{where}: .*found.*next:"):
        EvolveSettings(**changes)


def test_what_cannot_be_searched_is_refused(make: Any, tmp_path: Path) -> None:
    prepared, net = make()
    with pytest.raises(InputError, match=r"(?s)calibration data.*found: 30 samples.*at least 40"):
        deployq.evolve_scales(prepared, images(30), SMALL, teacher=net)
    none = EvolveSettings(**(vars(SMALL) | {"blocks": ("nothing.*",)}))
    with pytest.raises(InputError, match=r"(?s)blocks: .*nothing\.\*.*blocks\.0\.a\.in_proj\.0"):
        deployq.evolve_scales(prepared, images(), none, teacher=net)
    alone = EvolveSettings(**(vars(SMALL) | {"patience": 1, "margin": 1.0}))
    with pytest.raises(InputError, match=r"(?s)margin: .*1 of 3 batches.*next: hold back more"):
        deployq.evolve_scales(prepared, images(), alone, teacher=net)
    frozen = EvolveSettings(**(vars(SMALL) | {"codes": "frozen"}))
    with pytest.raises(InputError, match=r"(?s)teacher: .*next: give the float network"):
        deployq.evolve_scales(prepared, images(), frozen)


def test_networks_without_attention_are_searched_whole(make: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5)).eval()
    prepared = deployq.prepare(net, [torch.zeros(2, 8)], "ort-cpu")
    data = Dataset({"x": np.random.default_rng(0).standard_normal((64, 8)).astype("f4")}, None)
    prepared = deployq.calibrate(
        PreparedModel(prepared.module, prepared.plan, prepared.inputs, prepared.profile),
        Dataset({next(iter(prepared.inputs)): data.inputs["x"]}, None),
        CalibrationSettings(corrections=()),
    )
    assert sum(len(b.layers) for b in search_blocks(prepared, SMALL)) == 2


def test_errors_are_the_projects_own(make: Any) -> None:
    prepared, net = make()
    with pytest.raises(DeployqError):
        deployq.evolve_scales(prepared, images(), SMALL, teacher=net, arithmetic="wishful")
