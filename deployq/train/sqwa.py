"""Stochastic quantized weight averaging: several captured low-precision models become one.

Shin, Boo and Sung, arXiv 2002.00343. What its abstract and introduction state: a float model is
trained and its weights are quantized directly; the quantized model is retrained under a cyclical
learning rate and several low-precision models are captured near the end; their average, of a
higher precision (the example is seven 2-bit models), is quantized again and fine-tuned at low
rates; quantization is uniform. The rest could not be read and is our choice: the step of least
squared error, frozen from :meth:`SQWA.begin` on; the moment of a capture; means of all float
parameters; statistics of BatchNorms measured anew; weights that start the fine-tuning at the
average, not at its codes; and the straight-through gradient, zero outside the code range.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import fx
from torch.optim.swa_utils import AveragedModel

from deployq.errors import InputError
from deployq.graph.finished import check_finite
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.train.capture_state import (
    captured_from_state,
    captured_state,
    check_same,
    mean_from_state,
)
from deployq.train.captures import CaptureInfo, LayerCodes, check_shared_weights
from deployq.train.l2_step import set_step_l2
from deployq.train.multi_level import multi_level_quantizer, set_seen_weight, with_weight_types


class SQWA:
    """The pieces of SQWA around a training loop of the user's own.

    :meth:`begin`, train; :meth:`capture` at each minimum of :class:`CyclicLR`; :meth:`average`;
    :meth:`requantize`; train at low rates with a fresh optimizer. Running statistics are those of
    the last capture until :func:`reestimate_norms` has seen the average, and then
    ``reestimate_norms(requantized, batches, like=averaged)``.

    Args:
        prepared: a calibrated model; it is trained and captured.
        settle: puts fitted steps where the target wants them, in place; called after each fit,
            before steps are frozen.

    Raises:
        InputError: a model without a linear layer on codes.
        UnsupportedError: layers share a weight that they do not quantize alike.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        *,
        settle: Callable[[PreparedModel], object] = lambda prepared: None,
    ) -> None:
        calls = list(linear_calls(prepared))
        if not calls:
            raise InputError(
                "model",
                "quantized weights are averaged",
                found="no layer with quantized weights",
                next_step="prepare a network with a convolution or fully connected layer",
            )
        check_shared_weights(calls)
        self._prepared, self._settle = prepared, settle
        self._layers: dict[str, LayerCodes] = {}
        self._captures = 0
        self._mean: AveragedModel | None = None
        self._refits = True

    @property
    def captures(self) -> int:
        """Models captured so far."""
        return self._captures

    @torch.no_grad()
    def begin(self, *, refit: bool = True) -> None:
        """Direct quantization: fit the step of every weight, and freeze it; captures are dropped.

        Frozen with it are the running statistics of BatchNorms that are folded into the weight,
        which would move the weight against its step.

        Args:
            refit: fit the step to the weight, as to a float network's; a network that was trained
                on steps of its own keeps them with False.

        Raises:
            InputError: a weight that is not finite.
        """
        calls = self._calls()
        for call in calls.values():
            check_finite(call.name, "weight", call.seen_weight())
        if refit:
            for call in calls.values():
                set_step_l2(call)
            self._settle(self._prepared)
        freeze_steps(self._prepared)
        self._layers = {name: LayerCodes.of(call) for name, call in self._calls().items()}
        self._captures, self._mean, self._refits = 0, None, refit

    @torch.no_grad()
    def capture(self) -> CaptureInfo:
        """Take in the integer codes of every layer and all float parameters, as they are.

        Raises:
            InputError: before :meth:`begin`, a step that has moved since, or other parameters than
                at the first capture.
        """
        self._check_begun()
        calls = self._calls()
        for name, layer in self._layers.items():
            layer.check_step(calls[name])
        self._average_floats()
        after = {name: layer.after(calls[name]) for name, layer in self._layers.items()}
        changed = sum(int((after[n].latest != self._layers[n].latest).sum()) for n in after)
        total = sum(layer.latest.numel() for layer in after.values())
        info = CaptureInfo(self._captures, changed / total if self._captures else None)
        self._layers, self._captures = after, self._captures + 1
        return info

    def average(self) -> PreparedModel:
        """The multi-level model: its weight codes are the sums of the captured ones, exactly.

        K captures have a step of ``D / K`` and the bits that every sum fits, so for weights of 2
        bits more than the target may take. Biases, BatchNorm gains and biases, activation scales
        and weights in float are means (``torch.optim.swa_utils.AveragedModel``). A channel that the
        mean gain of a folded BatchNorm turns off has zero codes.

        Returns:
            A model of its own, in evaluation mode.

        Raises:
            InputError: nothing was captured.
        """
        found = self._mean_model()
        for call in linear_calls(found):
            layer, unit = self._layers[call.name], call.unit
            wanted = layer.average(call, self._captures)
            quantizer = multi_level_quantizer(unit.weight_quantizer, layer.step, self._captures)
            unit.weight_quantizer = quantizer
            set_seen_weight(call, wanted)
        types = {n: unit.weight_quantizer.qtype for n, unit in found.units().items()}
        return replace(found, plan=with_weight_types(found.plan, types))

    def latent_average(self, *, refit: bool | None = None) -> PreparedModel:
        """The control: float weights averaged, then quantized (Izmailov et al. 2018).

        Args:
            refit: as of :meth:`requantize`; None is as at :meth:`begin`: float weights that were
                trained on steps of their own lie far beyond them, and fit no other.

        Raises:
            InputError: nothing was captured.
        """
        refit = self._refits if refit is None else refit
        return self.requantize(self._mean_model(), refit=refit)

    @torch.no_grad()
    def requantize(self, averaged: PreparedModel, *, refit: bool = True) -> PreparedModel:
        """An average at the widths of the captures; its float weights stay, to be fine-tuned.

        With the captures' own step the code of a ternary weight is a vote: not zero where
        the K codes sum to more than K / 2. An even number of captures can tie, which gives zero
        where no BatchNorm is folded into the weight; other ties fall as float32 rounds the mean.

        Args:
            averaged: from :meth:`average`; it stays as it is.
            refit: fit the step to the averaged weights, or keep that of the captures.

        Returns:
            A model of its own, in evaluation mode, its steps frozen.

        Raises:
            InputError: the model is of other layers.
        """
        self._check_begun()
        check_same("averaged model", set(averaged.units()), set(self._layers))
        plan, units = self._prepared.plan, self._prepared.units()
        found = replace(averaged, module=copy.deepcopy(averaged.module).eval(), plan=plan)
        for call in linear_calls(found):
            quantizer = copy.deepcopy(units[call.name].weight_quantizer)
            call.unit.weight_quantizer = quantizer
            quantizer.set_qparams(self._layers[call.name].step, quantizer.zero_point)
            if refit:
                set_step_l2(call)
        if refit:
            self._settle(found)
        freeze_steps(found)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Tensors, names and numbers, for a checkpoint between captures."""
        mean = None if self._mean is None else self._mean.state_dict()
        captured = captured_state(self._captures, self._layers, self._calls())
        return {**captured, "mean": mean, "refits": self._refits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the steps of before are written and frozen.

        The model's own state is the user's to load.

        Raises:
            InputError: the state is none, or of another model, target or recipe.
        """
        calls = self._calls()
        captures, layers = captured_from_state(state, calls)
        mean = mean_from_state(state, self._prepared) if captures else None
        self._captures, self._layers, self._mean = captures, layers, mean
        self._refits = bool(state.get("refits", True))
        for name, layer in layers.items():
            quantizer = calls[name].unit.weight_quantizer
            quantizer.set_qparams(layer.step, quantizer.zero_point)
        if layers:
            freeze_steps(self._prepared)

    def _calls(self) -> dict[str, LinearCall]:
        return {call.name: call for call in linear_calls(self._prepared)}

    def _average_floats(self) -> None:
        """Count the parameters in; AveragedModel would pair those of another list wrongly."""
        module = self._prepared.module
        if self._mean is None:
            self._mean = AveragedModel(module)
        names = [{name for name, _ in m.named_parameters()} for m in (module, self._mean.module)]
        check_same("parameters of the model", *names)
        self._mean.update_parameters(module)

    def _mean_model(self) -> PreparedModel:
        """A copy of the model whose parameters are the means, at the widths of the captures."""
        self._check_begun()
        if self._mean is None:
            raise _out_of_order("an average is of captured models", "capture()")
        module = copy.deepcopy(cast(fx.GraphModule, self._mean.module))
        return replace(self._prepared, module=module.eval())

    def _check_begun(self) -> None:
        if not self._layers:
            raise _out_of_order("captures follow direct quantization", "begin()")


def freeze_steps(prepared: PreparedModel) -> None:
    """Stop the step of every weight, and what would move a weight against its step, in place."""
    for unit in prepared.units().values():
        unit.weight_quantizer.learn_scale(False)
        unit.weight_quantizer.scale.grad = None  # an optimizer would take a last step with it
        if unit.batch_norm == "fold":
            unit.frozen_statistics = True


def _out_of_order(rule: str, missing: str) -> InputError:
    return InputError("SQWA", rule, found=f"no {missing}", next_step=f"call {missing} first")
