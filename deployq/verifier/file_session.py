"""A file in its runtime, fed as the reference is: reals in, and reals or codes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deployq import affine
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed
from deployq.qparams import QParams
from deployq_exporters.runtimes.onnxruntime import Session

Array = npt.NDArray[Any]


class FileSession(Session):
    """A session that quantizes (law 1) what an integer edge of its file takes.

    Args:
        model: the file.
        graph: what it says.
        probes, optimised: of :class:`Session`.

    Raises:
        InputError: ONNX Runtime refuses the file.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        graph: IntegerGraph,
        probes: Mapping[str, QParams] | None = None,
        *,
        optimised: bool = True,
    ) -> None:
        super().__init__(model, probes, optimised=optimised)
        self.graph = graph

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Graph outputs as the file gives them, and probed codes (int64), by name."""
        return self.run_fed(feed(self.graph, inputs))

    def run_fed(self, fed: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """As :meth:`run`, of arrays that :func:`deployq.qgraph.edges.feed` made."""
        return super().run(fed)

    def edge_codes(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The codes that the file is fed, by input, int64."""
        fed = feed(self.graph, inputs).items()
        return {name: codes.astype(np.int64) for name, codes in fed if name in self.graph.qparams}

    def reals(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs as reals, whatever the file gives."""
        qparams = self.graph.qparams
        return {
            name: affine.dequantize(array, qparams[name]) if name in qparams else array
            for name, array in outputs.items()
        }
