"""``deployq targets infer`` as a user has it: output, exit code, and what is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from deployq_targets import load_profile
from tests.commands import Ran, run_command
from tests.fuzzing.seeds import seed_model

Run = Callable[..., Ran]
FILE = "branches.onnx"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    onnx.save(seed_model("branches"), FILE)
    onnx.save(seed_model("operators"), "operators.onnx")
    onnx.save(onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 3] x) => (float[N, 3] y) '
        "{ y = Erf(x) }"), "float.onnx")  # fmt: skip
    return lambda *arguments: run_command(monkeypatch, capsys, *arguments)


def test_a_profile_is_written_and_the_file_obeys_it(run: Run) -> None:
    out, err, code = run("targets", "infer", FILE, "-o", "My-Chip.toml")
    assert (code, err) == (0, "") and "My-Chip.toml: my-chip" in out
    assert "accumulator.bits" in out and "how wide is the register" in out
    assert load_profile("./My-Chip.toml").requant.kind == "vendor"
    out, _, code = run("check", FILE, "--target", "./My-Chip.toml")
    assert code == 0 and "branches.onnx on my-chip: 0 errors" in out
    assert run("check", "operators.onnx", "--target", "./My-Chip.toml").code == 1


def test_text_goes_to_standard_output(run: Run) -> None:
    out, err, code = run("targets", "infer", FILE, "operators.onnx", "--name", "two files")
    assert (code, err) == (0, "") and not list(Path().glob("*.toml"))
    table = tomllib.loads(out)
    assert (table["name"], len(table["sources"])) == ("two-files", 2)
    assert "# No file shows these" in out and "operators.onnx: QLinearConv" in out


def test_json_has_what_shows_each_value(run: Run) -> None:
    facts = json.loads(run("targets", "infer", FILE, "--json").out)
    assert facts["values"]["container.opset_max"] == {"value": 17, "shown": FILE}
    kernels = [e["kernel_h"]["value"] for e in facts["operators"] if "kernel_h" in e]
    assert [2, 2] in kernels and [3, 3] in kernels
    assert {"key", "text", "placeholder"} == set(facts["questions"][0])


def test_a_profile_that_is_there_is_kept(run: Run) -> None:
    path = Path("mine.toml")
    path.write_text("answers")
    ran = run("targets", "infer", FILE, "-o", path)
    assert ran.code == 2 and "--force" in ran.err and path.read_text() == "answers"
    assert run("targets", "infer", FILE, "-o", path, "--force").code == 0
    assert load_profile("./mine.toml").name == "mine"


@pytest.mark.parametrize(("arguments", "text"), [
    (("float.onnx", "-o", "mine.toml"), "float.onnx: a file that shows an integer target"),
    ((FILE, "float.onnx", "-o", "mine.toml"), "found: no integer tensors"),
    (("none.onnx",), "cannot read the model"),
    ((FILE, "-o", "mine.txt"), "a draft is a new .toml file"),
    ((FILE, "-o", "no/mine.toml"), "the profile must be writable"),
])  # fmt: skip
def test_what_cannot_run(run: Run, arguments: tuple[str, ...], text: str) -> None:
    before = sorted(Path().iterdir())
    ran = run("targets", "infer", *arguments)
    assert ran.code == 2 and text in ran.err and "Traceback" not in ran.err
    assert sorted(Path().iterdir()) == before


def test_names_in_a_file_do_not_break_the_text(run: Run) -> None:
    model = seed_model("branches")
    for node in model.graph.node:
        node.name = f'{node.op_type}\n"]] = 1 #\x1b[31m{node.output[0]}'
    onnx.save(model, "named.onnx")
    out, _, code = run("targets", "infer", "named.onnx")
    assert code == 0 and tomllib.loads(out)["op"] and "\x1b" not in out
