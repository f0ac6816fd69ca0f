"""The benchmarked networks: shapes, samples that do not overlap, metrics, stored outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.utils import _pytree as pytree

from benchmarks.check_models import TOLERANCE, reference_difference
from benchmarks.contenders import best_of
from benchmarks.data import DATA
from benchmarks.models.metrics import ClipAuc, Perplexity, RelativeError, Top1
from benchmarks.models.registry import LANGUAGE, MODELS, TRANSFORMERS, chosen
from benchmarks.models.samples import first_clips, first_normal, other_clips, windows
from benchmarks.timm_cnns.families import FAMILIES
from benchmarks.transformer_models.language import IMAGES, TEXT
from benchmarks.transformer_models.vision import NETWORKS
from benchmarks.transformers_breadth import MODELS as MODELS_OF_BREADTH
from deployq.data import Dataset
from deployq.verifier.metrics import Batch
from deployq.verifier.metrics.perplexity import PERPLEXITY

SMALL = ("cifar10_mlperf_resnet8", "cifar10_tinymobilenet", "kws_mlperf_dscnn",
         "ad_mlperf_autoencoder", *TRANSFORMERS, *LANGUAGE)  # fmt: skip


@pytest.mark.parametrize("name", MODELS | TRANSFORMERS | LANGUAGE)
def test_a_network_takes_its_own_shape(name: str) -> None:
    (spec,) = chosen(name)
    with torch.no_grad():
        outputs = pytree.tree_leaves(spec.build().eval()(spec.example(2)))
    assert all(len(output) == 2 for output in outputs)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.skipif(not (DATA / "models").is_dir(), reason=f"no real data in {DATA}")
def test_a_rebuilt_network_is_the_stored_one(name: str) -> None:
    (spec,) = chosen(name)
    assert reference_difference(spec, spec.load()) <= TOLERANCE


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(SystemExit, match="resnet1000: not one of cifar10_mlperf_resnet8"):
        chosen("resnet1000")


def test_clips_that_report_were_never_seen() -> None:
    labels = np.array([1, 0] * 30, np.int64)
    seen, others = first_clips(labels), other_clips(labels)
    assert set(first_normal(labels)) <= set(seen)
    assert sorted([*seen, *others]) == list(range(60))


def test_a_window_is_five_frames_in_order() -> None:
    frames = np.arange(2 * 200 * 128, dtype=np.float32).reshape(2, 200, 128)
    found = windows(frames)
    assert found.shape == (392, 640)
    np.testing.assert_array_equal(found[197], frames[1, 1:6].ravel())


def test_top1_counts_the_label() -> None:
    data = Dataset({"x": np.zeros((2, 1), np.float32)}, np.array([1, 0]))
    rows = Top1().rows([np.array([[0.0, 1.0], [0.0, 1.0]])], [], data)
    assert Top1().statistic(rows) == 50


def test_auc_scores_clips_by_their_windows() -> None:
    inputs = np.zeros((4, 2), np.float32)
    data = Dataset({"x": inputs}, np.array([0, 0, 1, 1]))
    rows = ClipAuc(2).rows([inputs + np.array([[1], [1], [0], [3]])], [], data)
    np.testing.assert_array_equal(rows, [[1, 0], [4.5, 1]])
    assert ClipAuc(2).statistic(rows) == 100


def test_auc_is_the_one_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 50)
    scores = (labels + draw.normal(size=50)).round(1)  # with ties
    rows = np.stack([scores, labels], 1)
    assert ClipAuc(1).statistic(rows) == pytest.approx(100 * roc_auc_score(labels, scores))


def test_relative_error_covers_every_output() -> None:
    data = Dataset({"x": np.zeros((1, 1), np.float32)})
    floats = [np.array([[3.0]]), np.array([[[4.0]]])]
    rows = RelativeError().rows([np.array([[3.0]]), np.array([[[4.5]]])], floats, data)
    assert RelativeError().statistic(rows) == pytest.approx(10)


def test_perplexity_is_the_one_of_verify() -> None:
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 5, (3, 4))
    ids[1, 2:] = -1
    logits = draw.normal(size=(3, 4, 5))
    data = Dataset({"x": np.maximum(ids, 0)}, ids)
    meter = PERPLEXITY.start()
    meter.add(Batch(data.inputs, ids, {"y": logits}, {"y": logits}))
    rows = Perplexity().rows([logits], [logits], data)
    assert Perplexity().statistic(rows) == pytest.approx(meter.values()["perplexity"])


def test_the_best_calibrator_depends_on_the_direction() -> None:
    figures = {"MinMax": 2.0, "Entropy": 1.0}
    assert best_of(figures, higher_is_better=True) == "MinMax"
    assert best_of(figures, higher_is_better=False) == "Entropy"


def test_sixty_families_once_each() -> None:
    assert len({family.model for family in FAMILIES}) == len(FAMILIES) == 60


def test_transformers_once_each() -> None:
    assert len(MODELS_OF_BREADTH) == len(set(MODELS_OF_BREADTH)) >= 35
    assert len(NETWORKS) >= 25 and len(TEXT) + len(IMAGES) >= 10
