"""``deployq check`` as a user has it: output, exit code, and the files of other tools."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import deployq
from deployq.check_rendering import explained
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import builtin_names, load_profile
from deployq_targets.checks import RULES
from tests.commands import Ran, run_command
from tests.graph.networks import residual_for

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[2] / "shared" / "data"))
FOLDER = DATA / "onnx_thirdparty"
FILES = sorted(FOLDER.rglob("*.onnx"))
UNTYPED = "qdq_with_multi_consumer_q_dq_axis"
"""A file whose outputs have no type, against ONNX's own rules."""
Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "check", *arguments)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepared = residual_for("int8-npu")
    made = tmp_path_factory.mktemp("check") / "model.onnx"
    onnx.save(to_proto(lower(prepared, prepared.profile)), made)
    return made


def test_a_file_that_the_target_takes(run: Run, path: Path) -> None:
    out, err, code = run(path, "--target", "int8-npu")
    assert (code, err) == (0, "")
    assert f"model.onnx on int8-npu: 0 errors, 0 warnings, 6 notes by {len(RULES)} rules" in out


def test_a_bundle_is_held_against_its_own_target(
    run: Run, path: Path, bundles: Callable[[str], Path]
) -> None:
    out, err, code = run(bundles("int8-npu"))
    assert (code, err) == (0, "") and "on int8-npu: 0 errors" in out
    assert run(path).code == 2 and "no --target" in run(path).err


def test_a_file_that_it_does_not_take(run: Run, path: Path) -> None:
    out, _, code = run(path, "--target", "max78000")
    assert code == 1
    assert "error weight-granularity: Weight scales are shared per tensor." in out
    facts = json.loads(run(path, "--target", "max78000", "--json")[0])
    assert facts["errors"] == sum(f["severity"] == "error" for f in facts["findings"]) > 0
    assert {"rule", "node", "tensor", "found", "allowed", "change"} <= facts["findings"][0].keys()
    assert [f.rule for f in deployq.check(path, "max78000")] == [
        finding["rule"] for finding in facts["findings"]
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "a check needs a file and a target"),
        (("missing.onnx", "--target", "int8-npu"), "missing.onnx"),
        (("--explain", "nix"), "a rule is explained by its id"),
    ],
)
def test_what_cannot_run(run: Run, arguments: tuple[str, ...], text: str) -> None:
    _, err, code = run(*arguments)
    assert code == 2 and text in err and "Traceback" not in err


def test_a_broken_file_cannot_run(run: Run, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:100])
    _, err, code = run(broken, "--target", "int8-npu")
    assert code == 2 and "broken.onnx" in err and "Traceback" not in err


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_explained(run: Run, rule: object) -> None:
    name = rule.id  # type: ignore[attr-defined] # a Rule
    out, _, code = run("--explain", name, "--target", "max78000")
    assert code == 0 and out.startswith(name) and "why: " in out and "sources of max78000" in out
    assert "keys: " in out and "with --target" in run("--explain", name).out


@pytest.mark.parametrize("target", builtin_names())
def test_every_rule_is_explained_for_every_profile(target: str) -> None:
    profile = load_profile(target)
    for rule in RULES:
        text = explained(rule.id, profile)
        assert "{" not in text and "None" not in text and f"sources of {target}: " in text


def test_the_documents_table_is_the_rules() -> None:
    text = (Path(__file__).parents[1] / "docs/check.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{rule.id}` | {rule.template.replace('{', '`').replace('}', '`')} | {rule.severity} |"
        for rule in RULES
    ]


@pytest.mark.skipif(not FILES, reason="the third-party models are not here; set DEPLOYQ_DATA")
@pytest.mark.parametrize("target", ["ort-cpu", "int4-npu", "nvdla-small"])
def test_files_of_other_tools_are_checked(target: str, run: Run) -> None:
    for file in FILES:
        out, err, code = run(file, "--target", target, "--json")
        if file.stem == UNTYPED:
            assert code == 2 and "onnx.checker refuses the model" in err
            continue
        assert (code, err) in ((0, ""), (1, "")), file
        facts = json.loads(out)
        rules = {finding["rule"] for finding in facts["findings"]}
        assert ("integer-tensors" in rules) == file.stem.endswith("_float"), file
