"""Metrics: each against its definition, and what each refuses."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.verifier.metrics import METRICS, Batch, choose_metric
from deployq.verifier.metrics.auc import roc_auc
from deployq.verifier.report import Limits

LOGITS = np.array([[[2.0, 0, 0], [0, 1, 0], [9, 9, 9]], [[0, 0, 3], [5, 5, 5], [1, 1, 1]]])
IDS = np.array([[0, 0, 1], [2, 2, -1]])
DATA = Dataset({"x": np.zeros((2, 2), np.float32)}, np.array([0, 1]))


def batch(
    output: np.ndarray,
    labels: np.ndarray | None = None,
    inputs: np.ndarray | None = None,
    floats: np.ndarray | None = None,
) -> Batch:
    x = np.zeros((len(output), 5)) if inputs is None else inputs
    return Batch({"x": x}, labels, {"y": output}, {"y": output if floats is None else floats})


def value(name: str, *batches: Batch) -> list[float]:
    meter = METRICS[name].start()
    for each in batches:
        meter.add(each)
    return list(meter.values().values())


def test_top1_counts_over_batches() -> None:
    scores, labels = np.eye(4), np.array([0, 1, 2, 0])
    assert value("top-1", batch(scores[:3], labels[:3]), batch(scores[3:], labels[3:])) == [0.75]
    for wrong in (labels + 4, np.stack([labels, labels], 1)):
        with pytest.raises(InputError, match=r"(?s)class numbers.*allowed: (0\.\.3|no labels)"):
            value("top-1", batch(scores, wrong))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(samples: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([s for s, _ in samples]), np.array([p for _, p in samples])
    ones, zeros = scores[positive], scores[~positive]
    if len(ones) and len(zeros):
        pairs = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
        assert roc_auc(scores, positive) == pytest.approx(pairs.mean(), abs=1e-12)  # float64 sums


def test_auc_scores_are_of_the_output() -> None:
    labels = np.array([0, 1, 0, 1])
    score = np.array([0.1, 0.4, 0.3, 0.9])
    for output in (score, score[:, None], np.stack([-score, score], 1)):
        assert value("auc", batch(output, labels)) == [1.0]
    images = np.zeros((4, 3))
    assert value("auc", batch(images + score[:, None], labels, images)) == [1.0]
    assert value("auc", batch(-score[:2], labels[:2]), batch(-score[2:], labels[2:])) == [0.0]


@pytest.mark.parametrize(
    ("output", "labels", "text"),
    [
        (np.zeros(2), np.array([0, 2]), r"found: \[2\]"),
        (np.zeros(2), np.array([1, 1]), "only 1"),
        (np.zeros((2, 3)), np.array([0, 1]), r"shape \(2, 3\)"),
    ],
)
def test_auc_refuses(output: np.ndarray, labels: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=f"(?s){text}.*next: "):
        value("auc", batch(output, labels))


def test_perplexity_is_of_the_next_token_and_skips_padding() -> None:
    likely = [
        np.exp(2) / (np.exp(2) + 2),  # the id 0 after LOGITS[0, 0]
        np.exp(1) / (np.exp(1) + 2),  # the id 1 after LOGITS[0, 1]
        np.exp(3) / (np.exp(3) + 2),  # the id 2 after LOGITS[1, 0]; the next is padding
    ]
    nats = -np.log(likely).mean()
    found = value("perplexity", batch(LOGITS[:1], IDS[:1]), batch(LOGITS[1:], IDS[1:]))
    assert found == pytest.approx([np.exp(nats), nats], rel=1e-12)  # float64 sums
    assert value("perplexity", batch(LOGITS[:1], inputs=IDS[:1])) == pytest.approx(
        value("perplexity", batch(LOGITS[:1], IDS[:1]))
    )


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (batch(LOGITS[:, 0], IDS), "logits are"),
        (batch(LOGITS, IDS + 2), "up to 4"),
        (batch(LOGITS), "0 inputs of integers"),
        (batch(LOGITS, np.full((2, 3), -1)), "below 0"),
    ],
)
def test_perplexity_refuses(case: Batch, text: str) -> None:
    with pytest.raises(InputError, match=f"(?s){text}.*next: "):
        value("perplexity", case)


def test_output_difference_is_sqnr_and_the_largest_gap() -> None:
    real = np.array([[3.0, 4.0]])
    first, second = batch(real + np.array([0.5, 0]), floats=real), batch(real, floats=real)
    assert value("output-difference", first, second) == pytest.approx(
        [10 * np.log10(50 / 0.25), 0.5]
    )
    assert value("output-difference", second) == [np.inf, 0.0]
    assert value("output-difference", batch(real, floats=0 * real))[0] == -np.inf


def test_the_default_follows_the_labels() -> None:
    assert choose_metric(None, DATA) is METRICS["top-1"]
    assert choose_metric(None, Dataset({"x": DATA.inputs["x"]})) is None


def test_names_and_labels_are_checked_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"(?s)'perplexty'.*allowed: top-1.*did you mean perplex"):
        choose_metric("perplexty", DATA)
    with pytest.raises(InputError, match=r"(?s)without labels.*next: .*output-difference"):
        choose_metric("auc", Dataset({"x": DATA.inputs["x"]}))
    with pytest.raises(InputError, match="No module named"):
        choose_metric("no_such_module:score", DATA)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    def name(function: object) -> str:
        module = types.ModuleType("own_metric")
        module.score = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "own_metric", module)
        return "own_metric:score"

    return name


def test_a_metric_of_the_user_sees_all_samples(own: Callable[[object], str]) -> None:
    seen = {}

    def score(outputs: object, inputs: object, labels: object) -> float:
        seen.update(outputs=outputs, inputs=inputs, labels=labels)
        return 0.25

    metric = choose_metric(own(score), DATA)
    assert metric is not None and metric.higher_is_better is None
    meter = metric.start()
    for _ in range(2):
        meter.add(batch(np.eye(2), np.array([0, 1])))
    assert list(meter.values().values()) == [0.25]
    assert seen["outputs"]["y"].shape == (4, 2) and seen["labels"].tolist() == [0, 1, 0, 1]
    assert seen["inputs"]["x"].shape == (4, 5)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda outputs, inputs, labels: outputs["z"], "KeyError.*next: call it"),
        (lambda outputs, inputs, labels: np.nan, "one finite number.*float nan"),
        (lambda outputs, inputs, labels: "good", "one finite number.*str good"),
        (3, "a metric is a function.*found: int"),
    ],
)
def test_broken_metrics_are_the_users(
    function: object, text: str, own: Callable[[object], str]
) -> None:
    with pytest.raises(InputError, match=f"(?s)own_metric:score.*{text}"):
        metric = choose_metric(own(function), DATA)
        assert metric is not None
        meter = metric.start()
        meter.add(batch(np.eye(2)))
        meter.values()


def test_verify_reports_the_metric(bundles: Callable[[str], Path], unseen: Dataset) -> None:
    few = unseen.take(64)
    report = pipeline.verify(
        bundles("int4-npu"), few, limits=Limits(1, 1, 1), latency_runs=1, metric="output-difference"
    )
    assert set(report.accuracy) == {"fake-quant", "reference", "runtime"}
    assert all(5 < sqnr < 60 for sqnr in report.accuracy.values())  # 4-bit weights: tens of dB
    facts = report.to_json()
    assert facts["metric"]["name"] == "output-difference" and facts["metric"]["higher_is_better"]
    assert set(facts["metric"]["details"]["runtime"]) == {"max |difference|"}


def test_infinite_figures_are_null_in_json() -> None:
    from deployq.verifier.report import finite

    assert finite({"a": {"b": np.inf, "c": 1.0}}) == {"a": {"b": None, "c": 1.0}}
