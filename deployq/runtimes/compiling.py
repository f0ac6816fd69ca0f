"""A runtime's compiler in a process of its own: one that aborts or hangs takes no export along.

    python -m deployq.runtimes.compiling FOLDER RUNTIME RESULT

Reads the runtime's file of an unfinished bundle and writes what its compiler makes beside it; a
refusal is written to RESULT, and the exit code is 0.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from deployq.bundle import CANONICAL_FILE
from deployq.errors import InputError, UnsupportedError
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.prepared_files import load_prepared_model
from deployq.qgraph import read_graph
from deployq.runtimes.isolated import Ending, run_isolated
from deployq.runtimes.source import make_source
from deployq_exporters.adapters import ADAPTERS, Adapter, Source

LIMIT_SECONDS = 600.0
"""Of one compiler; large networks take minutes."""


def compile_isolated(adapter: Adapter, folder: Path) -> dict[str, str] | None:
    """Let a runtime's compiler write its file; why it did not, as an error's facts.

    Args:
        adapter: one with ``compiled``, whose package is there.
        folder: of a bundle that has the canonical file, the prepared model and the runtime's file.
    """
    with tempfile.TemporaryDirectory() as name:
        result = Path(name) / "refused.json"
        command = [sys.executable, "-m", "deployq.runtimes.compiling"]
        command += [str(folder), adapter.name, str(result)]
        ended = run_isolated(command, Path(name), LIMIT_SECONDS)
        if ended.ending is not Ending.GOOD:
            return InputError(
                f"runtime {adapter.name}",
                "a compiler ends by itself",
                found=f"{ended.ending}: {ended.said}",
                next_step="the bundle is whole without it; report this to the runtime's vendor",
            ).as_dict()
        told: dict[str, str] | None = json.loads(result.read_text()) if result.exists() else None
        return told


def compile_here(adapter: Adapter, folder: Path) -> dict[str, str] | None:
    """As :func:`compile_isolated`, in this process."""
    assert adapter.compiled is not None, f"{adapter.name} compiles nothing"
    content = (folder / adapter.file_name).read_bytes()
    try:
        made = adapter.compiled.make(_source(folder), content)
    except (UnsupportedError, InputError) as error:
        return error.as_dict()
    (folder / adapter.compiled.file_name).write_bytes(made)
    return None


def main(folder: Path, runtime: str, result: Path) -> None:
    """Compile one file of a folder."""
    refused = compile_here(ADAPTERS[runtime], folder)
    if refused is not None:
        result.write_text(json.dumps(refused))


def _source(folder: Path) -> Source:
    profile = load_prepared_model(folder).profile
    model = load_onnx(folder / CANONICAL_FILE)
    return make_source(model, read_graph(model, joins_sums=profile.graph.joins_sums), profile)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
