"""The public function: from a file and a target to a folder of golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from deployq.bundle import (
    Bundle,
    check_replaceable,
    environment_facts,
    read_bundle,
    write_manifest,
)
from deployq.data import Dataset, load_arrays
from deployq.errors import InputError
from deployq.file_samples import file_samples
from deployq.golden_vectors.random_samples import random_samples
from deployq.golden_vectors.tracing import Advance, integer_nodes, trace_graph
from deployq.manifest import MANIFEST, read_manifest
from deployq.opened_file import OpenedFile, open_file, open_memory
from deployq.pipeline import Target, as_profile, run_first, stated_profile
from deployq.qgraph.as_computed import as_computed
from deployq.qgraph.edges import feed
from deployq.qgraph.row_norms import rows_on_codes
from deployq.simulator import Simulation, run_graph
from deployq.staging import replacing_folder
from deployq.verifier.conformance import INPUT
from deployq.verifier.evidence import GOLDEN_FILE
from deployq_exporters.golden.folder import write_vectors
from deployq_targets import TargetProfile

FACT = "golden"
"""The fact of a manifest that makes its folder one of golden vectors."""
SAMPLES = 16
CODES = 1 << 19
"""Of all samples together, where their number is not stated: text files of a few megabytes."""


def export_golden(
    source: Path | onnx.ModelProto,
    path: Path,
    target: Target | None = None,
    inputs: Path | Mapping[str, Any] | None = None,
    *,
    samples: int | None = None,
    progress: Advance = lambda stage: None,
) -> Bundle:
    """Write the golden vectors of a file under a target's arithmetic, all or nothing.

    Args:
        source: a bundle, a QDQ or QOperator file, or a model in memory.
        path: the folder; older golden vectors there are replaced at the last moment.
        target: whose arithmetic and memory; a bundle's own by default.
        inputs: graph input name to array, (N, ...), or an ``.npz`` of such; by default those of a
            bundle's own vectors, of a bare file random codes.
        samples: how many of them; by default at most 16, and fewer where each makes many codes.

    Returns:
        The folder, its files and facts, read back.

    Raises:
        InputError: no target for a bare file, inputs that do not fit, or a folder that may not be
            replaced.
        UnsupportedError: a node without an integer form or that C cannot compute in integers, by
            its name.
    """
    stated = None if target is None else as_profile(target)
    opened = (
        open_memory(source, stated)
        if isinstance(source, onnx.ModelProto)
        else open_file(Path(source), target=stated)
    )
    profile = stated or stated_profile(opened.profile)
    opened = replace(opened, graph=as_computed(opened.graph, profile.contract()))
    integer_nodes(rows_on_codes(opened.graph, profile.contract()))
    data = _dataset(source, opened, inputs)
    _refuse_inside(Path(path), source)
    with replacing_folder(Path(path), check_golden) as folder:
        progress("simulate")
        run = _run(opened, profile, data, samples)
        count = len(next(iter(run[0].values())))
        trace = trace_graph(opened.graph, profile, run[1], samples=count, progress=progress)
        progress("write")
        facts = write_vectors(trace, folder)
        environment = environment_facts(torch.get_num_threads())
        write_manifest(folder, {FACT: facts, "environment": environment})
    return read_bundle(Path(path))


def check_golden(path: Path) -> None:
    """Refuse to replace anything but golden vectors and empty folders.

    Raises:
        InputError: says what is there.
    """
    check_replaceable(path)
    if (path / MANIFEST).is_file() and FACT not in read_manifest(path).facts:
        raise InputError(
            str(path),
            "golden vectors replace golden vectors only",
            found="a bundle",
            allowed="a new path, an empty folder or older golden vectors",
            next_step="choose another path",
        )


def _dataset(
    source: Path | onnx.ModelProto, opened: OpenedFile, inputs: Path | Mapping[str, Any] | None
) -> Dataset:
    if isinstance(inputs, Path):
        return file_samples(opened, inputs)
    if inputs is not None:
        return Dataset({name: np.asarray(array) for name, array in inputs.items()})
    if not isinstance(source, onnx.ModelProto) and opened.profile is not None:
        arrays = load_arrays(Path(source) / GOLDEN_FILE)
        stored = {n.removeprefix(INPUT): a for n, a in arrays.items() if n.startswith(INPUT)}
        return Dataset(stored)
    return random_samples(opened, opened.fixed_batch or SAMPLES)


def _run(
    opened: OpenedFile, profile: TargetProfile, data: Dataset, samples: int | None
) -> tuple[dict[str, Any], Simulation]:
    """The samples that were asked for, or as many as keep the files small; a whole fixed batch."""
    graph, contract, batch = opened.graph, profile.contract(), opened.fixed_batch
    if batch is not None and samples not in (None, batch):
        raise InputError(
            "samples",
            "a file with a fixed batch runs on one batch",
            found=str(samples),
            allowed=str(batch),
            next_step="leave the number of samples out",
        )
    count = batch or samples
    if count is None:
        return run_first(graph, contract, data, most=SAMPLES, codes=CODES)
    fed = feed(graph, data.take(count).inputs)
    return fed, run_graph(graph, contract, fed)


def _refuse_inside(path: Path, source: Path | onnx.ModelProto) -> None:
    if isinstance(source, onnx.ModelProto) or not Path(source).is_dir():
        return
    if Path(source).resolve() in path.resolve().parents:
        raise InputError(
            str(path),
            "a bundle holds the files of its own manifest only",
            found="a path inside the bundle",
            next_step="choose a path beside it",
        )
