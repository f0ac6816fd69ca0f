"""The step of a weight with the least squared error, zero point 0.

``E(D) = sum (w - c D)^2`` with the codes ``c = clamp(round(w / D), qmin, qmax)``. For given codes
the best step is ``<w, c> / <c, c>`` and ``E = <w, w> - <w, c>^2 / <c, c>``; the codes only change
where ``|w| / D`` passes half a step. So the best step is found exactly among those breakpoints,
sorted; the common way, codes and step in turn, has several fixed points and needs several starts.

SQWA quantizes directly with this step; which way its authors find it could not be read, and the
exact search is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deployq.graph.integers import LinearCall
from deployq.graph.weight_rows import weight_rows

EXACT_BREAKPOINTS = 1 << 23
"""Sorted at once: 8 million weights of 2 bits, a million of 4; above that the step is searched."""

COARSE_RATIOS = 2.0 ** (-torch.arange(29, dtype=torch.float64) / 4)
"""Of the step that clips nothing, down to 1/128 of it."""

FINER_RATIOS = [2.0 ** (torch.arange(-8, 9, dtype=torch.float64) / n) for n in (32, 256)]
ALTERNATIONS = 20

SMALLEST_STEP = float(torch.finfo(torch.float32).tiny)


def fit_step_l2(rows: Tensor, qmin: int, qmax: int) -> Tensor:
    """The step of each row with the least squared error.

    Exact up to :data:`EXACT_BREAKPOINTS`, the number of weights times the highest ``|code|``; above
    that the best of a search in ever finer steps, then codes and step in turn.

    Args:
        rows: (R, N) float, weights that share a step in a row; finite.
        qmin, qmax: code range, qmin <= 0 <= qmax, symmetric or not; one of them not 0.

    Returns:
        (R,) float32, positive. A row that the codes can say nothing of (zeros, or values on a side
        without codes) takes the mean step of the others, 1 where there is none.
    """
    rows = rows.double()
    fit = _exact if rows.numel() * max(-qmin, qmax) <= EXACT_BREAKPOINTS else _searched
    steps, gains = fit(rows, qmin, qmax)
    fitted = gains > 0
    others = steps[fitted].mean() if fitted.any() else steps.new_ones(())
    return torch.where(fitted, steps, others).clamp(min=SMALLEST_STEP).float()


def set_step_l2(call: LinearCall) -> None:
    """Give the weight quantizer of a layer the step of :func:`fit_step_l2`, in place."""
    quantizer = call.unit.weight_quantizer
    rows = weight_rows(call.seen_weight(), quantizer)
    step = fit_step_l2(rows, quantizer.qtype.qmin, quantizer.qtype.qmax)
    quantizer.set_qparams(step.reshape(quantizer.scale.shape), quantizer.zero_point)


def _exact(rows: Tensor, qmin: int, qmax: int) -> tuple[Tensor, Tensor]:
    """Steps and ``<w, c>^2 / <c, c>``: codes grow one by one as the step shrinks from infinity."""
    size = rows.abs()[..., None]
    below = torch.arange(max(-qmin, qmax), dtype=torch.float64, device=rows.device)
    reached = below < torch.where(rows < 0, -qmin, qmax)[..., None]
    # 1 / D where |code| grows from `below` to the next; never, beyond the range
    turns = torch.where(reached, (below + 0.5) / size, torch.inf).flatten(1)
    turns, order = turns.sort(1)
    products = size.expand(*rows.shape, len(below)).flatten(1).gather(1, order).cumsum(1)
    squares = (2 * below + 1).expand(*rows.shape, -1).flatten(1).gather(1, order).cumsum(1)
    gains = torch.where(turns.isfinite(), products**2 / squares, 0.0)
    best = gains.argmax(1, keepdim=True)
    step = products.gather(1, best) / squares.gather(1, best)
    return step[:, 0], gains.gather(1, best)[:, 0]


def _searched(rows: Tensor, qmin: int, qmax: int) -> tuple[Tensor, Tensor]:
    """As :func:`_exact`, the best of what is tried."""
    widest = rows.abs().amax(1) / max(-qmin, qmax)
    best = _best_of(rows, widest, COARSE_RATIOS, qmin, qmax)
    for ratios in FINER_RATIOS:
        best = _best_of(rows, best[0], ratios, qmin, qmax)
    for _ in range(ALTERNATIONS):
        best = _improved(rows, best[0], qmin, qmax)
    return best


def _best_of(
    rows: Tensor, steps: Tensor, ratios: Tensor, qmin: int, qmax: int
) -> tuple[Tensor, Tensor]:
    tried = [_improved(rows, steps * ratio, qmin, qmax) for ratio in ratios.to(rows.device)]
    found, gains = (torch.stack(each) for each in zip(*tried, strict=True))
    best = gains.argmax(0, keepdim=True)
    return found.gather(0, best)[0], gains.gather(0, best)[0]


def _improved(rows: Tensor, steps: Tensor, qmin: int, qmax: int) -> tuple[Tensor, Tensor]:
    """The best step for the codes of a step, and its gain; of codes that are all zero, no gain."""
    codes = (rows / steps.clamp(min=SMALLEST_STEP)[:, None]).round().clamp(qmin, qmax)
    products, squares = (rows * codes).sum(1), (codes * codes).sum(1)
    some = squares > 0
    step = torch.where(some, products / squares, steps)
    return step, torch.where(some, products**2 / squares, 0.0)
