"""The public proof that sums fit: from what the user named to an OverflowProof."""

from __future__ import annotations

from pathlib import Path

import onnx

from deployq.data import Dataset
from deployq.file_samples import file_samples
from deployq.opened_file import OpenedFile, open_file, open_memory
from deployq.overflow.proof import OverflowProof, Witness
from deployq.overflow.proving import prove_layers
from deployq.overflow.samples import sample_sums
from deployq.overflow.subject import Subject
from deployq.overflow.witness_files import write_witnesses
from deployq.overflow.witnesses import find_witnesses
from deployq.pipeline import Target, as_profile, stated_profile
from deployq.qgraph.edges import feed
from deployq.qgraph.row_norms import rows_on_codes
from deployq.simulator.shapes import code_shapes
from deployq_targets import TargetProfile

BATCH = 16
"""Samples that run at once where the file takes any number."""


def prove_accumulators(
    source: Path | onnx.ModelProto,
    target: Target | None = None,
    data: Dataset | Path | None = None,
    *,
    witnesses: Path | None = None,
    every_layer: bool = False,
) -> OverflowProof:
    """The exact worst case of every accumulator, from weights, biases and the ranges of codes.

    Args:
        source: a QDQ or QOperator file of any tool, a bundle (its canonical file), or a model in
            memory.
        target: whose accumulator; a bundle's own by default.
        data: samples, or an ``.npz`` of them, whose sums are given beside the worst case.
        witnesses: a folder for inputs of single layers that overflow, written all or nothing.
        every_layer: also a witness of each layer that fits.

    Raises:
        InputError: nothing there that can be read, no target, samples that do not fit the file, or
            a folder that cannot be replaced.
        UnsupportedError: a node has no integer form, or no layer sums integer products.
        ProfileError: a broken profile, or one that derives sums from types.
    """
    stated = None if target is None else as_profile(target)
    name, opened = _opened(source, stated)
    profile = stated or stated_profile(opened.profile)
    given = file_samples(opened, data) if isinstance(data, Path) else data
    batch = opened.fixed_batch
    sample = None if given is None else feed(opened.graph, given.take(batch or 1).inputs)
    shapes = code_shapes(opened.model, opened.graph, sample)
    subject = Subject(opened.graph, profile, shapes)
    layers = prove_layers(subject)
    floats = rows_on_codes(opened.graph, profile.contract()).floats
    if given is not None:
        seen = sample_sums(opened.graph, profile.contract(), given, batch or BATCH)
        layers = tuple(layer.with_seen(seen[layer.output]) for layer in layers)
    found: tuple[Witness, ...] = ()
    if witnesses is not None:
        made = find_witnesses(subject, layers, every_layer=every_layer)
        found = write_witnesses(made, witnesses, profile.name)
    return OverflowProof(
        name, profile.name, subject.accumulator, layers,
        floats=tuple(f"{node.name} ({node.op_type})" for node in floats),
        samples=0 if given is None else len(given),
        witnesses=found,
    )  # fmt: skip


def _opened(source: Path | onnx.ModelProto, target: TargetProfile | None) -> tuple[str, OpenedFile]:
    if isinstance(source, onnx.ModelProto):
        return "model", open_memory(source, target)
    path = Path(source)
    return path.resolve().name, open_file(path, target=target)
