"""Do the files of a bundle speak of one network: inputs, outputs, golden vectors?"""

from __future__ import annotations

import numpy as np

from deployq.bundle import CANONICAL_FILE
from deployq.qgraph.edges import code_tensor
from deployq.simulator import run_graph
from deployq.verifier.evidence import RUNTIME_FILE, Evidence
from deployq_exporters.edge_facts import edge_facts

INPUT, CODE, OUTPUT = "input/", "codes/", "output/"
"""Prefixes of the arrays in ``golden.npz``."""


def check_conformance(evidence: Evidence) -> tuple[str, ...]:
    """Contradictions between the files, one sentence each; empty is good."""
    return (
        *_interfaces(evidence), *_tensors(evidence), *_edges(evidence),
    ) or tuple(_golden(evidence))  # fmt: skip


def _interfaces(evidence: Evidence) -> list[str]:
    """Both files take the prepared model's inputs and give the same outputs."""
    found = []
    inputs = tuple(evidence.prepared.inputs)
    for name, graph in (("model.onnx", evidence.graph), ("runtime file", evidence.runtime_graph)):
        if graph.inputs != inputs:
            found.append(f"{name} takes {graph.inputs}, the prepared model {inputs}")
    if evidence.graph.outputs != evidence.runtime_graph.outputs:
        found.append(
            f"model.onnx gives {evidence.graph.outputs}, "
            f"the runtime file {evidence.runtime_graph.outputs}"
        )
    return found


def _tensors(evidence: Evidence) -> list[str]:
    """Every tensor of the reference is in both files, every output of it comes out."""
    found = []
    (output,) = [n for n in evidence.prepared.module.graph.nodes if n.op == "output"]
    for name, graph in (("model.onnx", evidence.graph), ("runtime file", evidence.runtime_graph)):
        lost = [
            tensor for tensor in evidence.grids if code_tensor(graph, tensor) not in graph.qparams
        ]
        if lost:
            found.append(f"{name} lacks the tensors {', '.join(lost)}")
        if len(graph.outputs) != len(output.all_input_nodes):
            found.append(
                f"{name} has {len(graph.outputs)} outputs, the prepared model "
                f"{len(output.all_input_nodes)}"
            )
    return found


def _edges(evidence: Evidence) -> list[str]:
    """What the manifest tells firmware of inputs and outputs is what the files have."""
    stated = evidence.facts.get("edges")
    if not isinstance(stated, dict):
        return []  # of a bundle from before there was a choice
    files = {CANONICAL_FILE: evidence.canonical, RUNTIME_FILE: evidence.runtime_file}
    found = []
    for side, edges in edge_facts(evidence.prepared, evidence.graph, files).items():
        said = stated.get(side)
        for name in edges:
            if not isinstance(said, dict) or said.get(name) != edges[name]:
                found.append(
                    f"manifest.json is wrong on {side} {name}: the files have {edges[name]}"
                )
    return found


def _golden(evidence: Evidence) -> list[str]:
    """Every golden array is what the simulation of ``model.onnx`` computes, and nothing is left."""
    golden = dict(evidence.golden)
    inputs = {n.removeprefix(INPUT): golden.pop(n) for n in list(golden) if n.startswith(INPUT)}
    if set(inputs) != set(evidence.graph.inputs):
        return [f"golden.npz has inputs {sorted(inputs)}"]
    simulation = run_graph(evidence.graph, evidence.contract, inputs)
    computed = {CODE + name: codes.numpy() for name, codes in simulation.codes.items()}
    computed |= {OUTPUT + name: array for name, array in simulation.outputs.items()}
    found = [f"golden.npz lacks {name}" for name in sorted(set(computed) - set(golden))]
    found += [f"golden.npz has unknown {name}" for name in sorted(set(golden) - set(computed))]
    for name in sorted(set(computed) & set(golden)):
        if not np.array_equal(computed[name], golden[name]):
            found.append(f"golden.npz: {name} is not what the simulation computes")
    return found
