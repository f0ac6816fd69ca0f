"""Evol-Q from a checkpoint: cut off anywhere it ends alike, and other searches are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deployq.data import Dataset
from deployq.errors import InputError
from tests.calibration.evolq_variants import VARIANTS, Variant, told
from tests.calibration.test_evolq import images, network, scales

CUT = {**VARIANTS, "multipliers": Variant({}, "[requant]\nmultiplier_bits = 6\n")}


def stop_after(visits: int) -> Callable[[str], None]:
    left = iter(range(visits))

    def stop(stage: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("name", list(CUT))
def test_what_was_cut_off_goes_on_to_the_same_scales(name: str, tmp_path: Path) -> None:
    variant, path = CUT[name], tmp_path / "search"
    whole = variant.model(tmp_path)
    wanted = told(variant.search(whole), whole)
    for visits in (0, 2):
        path.unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            variant.search(variant.model(tmp_path), checkpoint=path, progress=stop_after(visits))
        resumed = variant.model(tmp_path)
        assert told(variant.search(resumed, checkpoint=path), resumed) == wanted
    again = variant.model(tmp_path)  # finished, or ended by patience
    assert told(variant.search(again, checkpoint=path), again) == wanted


def test_patience_that_ends_in_the_last_pass_is_remembered(tmp_path: Path) -> None:
    variant, path = VARIANTS["patience"], tmp_path / "search"
    passes = {"passes": len(variant.search(variant.model(tmp_path)).held_back) - 1}
    first, second = variant.model(tmp_path), variant.model(tmp_path)
    wanted = told(variant.search(first, checkpoint=path, settings=passes), first)
    assert wanted["stopped"]
    assert told(variant.search(second, checkpoint=path, settings=passes), second) == wanted


def test_a_finished_search_goes_on_for_more_passes(tmp_path: Path) -> None:
    variant, path = VARIANTS["plain"], tmp_path / "search"
    variant.search(variant.model(tmp_path), checkpoint=path)
    longer, whole = variant.model(tmp_path), variant.model(tmp_path)
    found = variant.search(longer, checkpoint=path, settings={"passes": 4})
    wanted = variant.search(whole, settings={"passes": 4})
    assert found.history == wanted.history and found.held_back == wanted.held_back
    assert all(torch.equal(s, scales(whole)[n]) for n, s in scales(longer).items())
    with pytest.raises(InputError, match="of more passes than are wanted"):
        variant.search(variant.model(tmp_path), checkpoint=path, settings={"passes": 1})


def other_network() -> Any:
    net = network()
    with torch.no_grad():
        net.get_parameter("head.bias").add_(0.5)
    return net


@pytest.mark.parametrize(("change", "said"), [
    ({"settings": {"seed": 1, "tau": 2.0}}, "other settings: seed, settings: tau"),
    ({"data": Dataset({"x": images().inputs["x"][::-1].copy()})}, "other calibration data"),
    ({"teacher": other_network()}, "other teacher outputs"),
])  # fmt: skip
def test_another_searchs_checkpoint_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    variant, path = VARIANTS["plain"], tmp_path / "search"
    variant.search(variant.model(tmp_path), checkpoint=path)
    with pytest.raises(InputError, match=rf"(?ms){path}: .*found: of a search with {said}.*next"):
        variant.search(variant.model(tmp_path), checkpoint=path, **change)


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    variant, path = VARIANTS["plain"], tmp_path / "search"
    prepared = variant.model(tmp_path)
    variant.search(prepared, checkpoint=path)
    with pytest.raises(InputError, match="with other weights or scales at the start"):
        variant.search(prepared, checkpoint=path)  # its scales are the searched ones
    elsewhere = Variant(table='[accumulator]\nbits = 40\noverflow = "reject"\n')
    with pytest.raises(InputError, match="with other target or arithmetic"):
        elsewhere.search(elsewhere.model(tmp_path), checkpoint=path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    variant, path = VARIANTS["plain"], tmp_path / "search"
    path.write_bytes(b"\x10" * 40)
    with pytest.raises(InputError, match="damaged"):
        variant.search(variant.model(tmp_path), checkpoint=path)
    with pytest.raises(InputError, match="found: a folder"):
        variant.search(variant.model(tmp_path), checkpoint=tmp_path)
    with pytest.raises(InputError, match=r"(?s)search/x: .*next: give another path"):
        variant.search(variant.model(tmp_path), checkpoint=path / "x")
