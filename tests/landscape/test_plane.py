"""The plane through three points, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.landscape.plane import Plane


def vectors(*rows: list[float]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


CORNERS = vectors([1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [2.0, 3.0, 0.0])


def test_sides_and_corners() -> None:
    plane = Plane.through(CORNERS)
    assert (plane.width, plane.height, plane.foot) == (2.0, 3.0, 0.5)
    assert plane.corners == ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0))
    for corner, place in zip(CORNERS, plane.corners, strict=True):
        assert plane.project(corner) == (*place, 0.0)


def test_shares_of_corners_are_exact_and_combine_to_places() -> None:
    torch.manual_seed(0)
    corners = [*torch.randn(3, 7, dtype=torch.float64)]
    plane = Plane.through(corners)
    found = [plane.shares(*place) for place in plane.corners]
    assert found == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    place = sum(s * c for s, c in zip(plane.shares(0.3, -0.2), corners, strict=True))
    assert isinstance(place, Tensor)
    assert plane.project(place) == pytest.approx((0.3, -0.2, 0.0), abs=1e-12)
    gap = place - corners[0]
    assert float(gap @ plane.along) == pytest.approx(0.3 * plane.width)
    assert float(gap @ plane.up) == pytest.approx(-0.2 * plane.height)


def test_a_point_beside_the_plane() -> None:
    a, b, away = Plane.through(CORNERS).project(vectors([2.0, 1.0, -4.0])[0])
    assert (a, b, away) == (0.5, pytest.approx(1 / 3), 4.0)


def test_the_grid_holds_the_triangle() -> None:
    x, y = Plane.through(CORNERS).ticks(21, 0.2)
    np.testing.assert_array_equal(x, np.linspace(-0.2, 1.2, 21))
    np.testing.assert_array_equal(x, y)
    leaning = Plane.through([*CORNERS[:2], *vectors([7.0, 3.0, 0.0])])
    assert leaning.ticks(5, 0.1)[0][[0, -1]].tolist() == [-0.1, 3.1]
    assert leaning.ticks(5, 0.1)[1][[0, -1]].tolist() == [-0.1, 1.1]


@pytest.mark.parametrize(
    "third", [[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [9.0, 0.0, 0.0], [2.0, 1e-7, 0.0]]
)
def test_points_on_a_line_span_no_plane(third: list[float]) -> None:
    with pytest.raises(InputError, match="three models that are not on a line"):
        Plane.through([*CORNERS[:2], *vectors(third)])


def test_equal_first_points_span_no_plane() -> None:
    with pytest.raises(InputError, match=r"a width of 0 and a height of"):
        Plane.through([CORNERS[0], CORNERS[0], CORNERS[2]])
