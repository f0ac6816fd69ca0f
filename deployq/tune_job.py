"""The job of ``deployq tune``: from paths to a search, and to a prepared model again."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from deployq.arithmetic.kernels.devices import exact_device
from deployq.errors import InputError
from deployq.landscape_inputs import open_models
from deployq.models import fit_samples, load_model
from deployq.pipeline import save_prepared
from deployq.sources import DataRequest, Preprocessing, open_samples
from deployq.trainer.ranks import joined_ranks
from deployq.tune_paths import check_checkpoint, check_output
from deployq.tuning import evolve_scales
from deployq_calibration.evolq import Evolved, EvolveSettings
from deployq_calibration.evolq.walk import Advance


def tune_model(
    model: Path,
    output: Path,
    data: str,
    settings: EvolveSettings,
    *,
    teacher: str | None = None,
    weights: Path | None = None,
    arithmetic: str = "file",
    checkpoint: Path | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Path | None = None,
    progress: Advance = lambda stage: None,
) -> Evolved | None:
    """Tune what a folder holds and write the result into another.

    Returns:
        What the search did; None in all processes of torchrun but the first.

    Raises:
        InputError: a path, device, network or data that does not fit; device and paths are looked
            at first.
    """
    exact_device(settings.device, "--device")
    check_output(output)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    (prepared,) = open_models([model]).values()
    request = DataRequest(data, preprocessing, labels)
    samples = fit_samples(open_samples(request), prepared)
    network = None if teacher is None else _teacher(teacher, request, weights)
    with joined_ranks("cpu") as ranks:
        evolved = evolve_scales(
            prepared, samples, settings, teacher=network, arithmetic=arithmetic,
            checkpoint=checkpoint, writes=ranks.first, progress=progress,
        )  # fmt: skip
        if ranks.first:
            save_prepared(prepared, output)
        return evolved if ranks.first else None


def _teacher(reference: str, request: DataRequest, weights: Path | None) -> fx.GraphModule:
    loaded = load_model(reference, lambda: open_samples(request), weights)
    if loaded.captured is None:
        raise InputError(
            "--teacher",
            "the teacher is the float network",
            found=f"{reference}, a prepared model",
            next_step="name what the model was prepared from",
        )
    return loaded.captured
