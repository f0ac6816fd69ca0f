"""Metrics by name; one small file each."""

from __future__ import annotations

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.user_code import names_code
from deployq.verifier.metrics.auc import AUC
from deployq.verifier.metrics.metric import Batch, Measured, Meter, Metric
from deployq.verifier.metrics.output_difference import OUTPUT_DIFFERENCE
from deployq.verifier.metrics.perplexity import PERPLEXITY
from deployq.verifier.metrics.top1 import TOP1
from deployq.verifier.metrics.user_metric import user_metric
from deployq_targets.names import nearest

__all__ = ["METRICS", "TOP1", "Batch", "Measured", "Meter", "Metric", "choose_metric"]

METRICS = {metric.name: metric for metric in (TOP1, AUC, PERPLEXITY, OUTPUT_DIFFERENCE)}


def choose_metric(name: str | None, dataset: Dataset) -> Metric | None:
    """The metric that a name stands for, held to the data before anything is computed.

    Args:
        name: of :data:`METRICS`, or ``package.module:callable``; None is top-1 where the data has
            labels, and nothing where it has none.
        dataset: with labels where the metric needs them.

    Raises:
        InputError: no such metric, or no labels for it.
    """
    if name is None:
        return None if dataset.labels is None else TOP1
    metric = METRICS.get(name)
    if metric is None and names_code(name):
        return user_metric(name)
    if metric is None:
        raise InputError(
            "--metric",
            "no metric has this name",
            found=repr(name),
            allowed=f"{', '.join(METRICS)}, or package.module:callable",
            next_step=f"did you mean {nearest(name, METRICS)}?",
        )
    if metric.needs_labels and dataset.labels is None:
        raise InputError(
            f"--metric {name}",
            "this metric compares with labels",
            found="data without labels",
            allowed="an array y, class folders of images, or a labels file",
            next_step="add labels, or use --metric output-difference",
        )
    return metric
