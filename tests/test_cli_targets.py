"""``deployq targets`` as a user has it: output and exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types, and the stubs are not ours
import pytest
from typer.testing import CliRunner

from deployq import cli
from deployq_targets import builtin_names
from tests.commands import Ran, run_command

Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "targets", *arguments)


def test_list_names_every_profile(run: Run) -> None:
    ran = run("list")
    assert ran.code == 0
    for name in builtin_names():
        assert f" {name} " in ran.out
    assert "fixed31 half_up" in ran.out and "[-7, 7]" in ran.out  # brackets are text


def test_list_as_json(run: Run) -> None:
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json").out)["targets"]}
    assert tuple(entries) == builtin_names()
    assert entries["int4-npu"]["weight_bits"] == [4, 8] and entries["int4-npu"]["prepared"]
    assert entries["rk3588"]["reason"] == "container.opset_max = 19"
    assert entries["rk3588"]["requantization"] == "vendor"
    assert entries["cmsis-nn"]["refused_operators"] == []
    assert "AveragePool" in entries["qnn-htp"]["refused_operators"]


def test_show_has_value_evidence_and_file(run: Run) -> None:
    ran = run("show", "ethos-u85-512")
    assert ran.code == 0 and "extends ethos-u85-1024" in ran.out
    line = next(line for line in ran.out.splitlines() if "bias.signed_bits_max" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "bias.signed_bits_max", "48", "S", "ethos-u85-1024",
    ]  # fmt: skip


def test_show_as_json_of_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    head = 'schema = 1\nname = "mine"\nsummary = "my chip"\nextends = "int8-npu"\n'
    path.write_text(head + "[accumulator]\nbits = 24\n[bias]\nbits = 24\n[container]\n"
                    'int_types = ["s8", "s32"]\n')  # fmt: skip
    facts = json.loads(run("show", path, "--json").out)
    assert (facts["name"], facts["extends"]) == ("mine", "int8-npu")
    assert facts["values"]["accumulator.bits"] == {
        "value": 24, "evidence": "D", "origin": str(path),
    }  # fmt: skip
    assert facts["values"]["requant.multiplier_bits"]["origin"] == "int8-npu"


def test_diff_shows_both_values_and_exits_0(run: Run) -> None:
    ran = run("diff", "ethos-u55-256", "ethos-u55-128", "--json")
    assert ran.code == 0
    facts = json.loads(ran.out)
    assert (facts["a"], facts["b"]) == ("ethos-u55-256", "ethos-u55-128")
    assert facts["differences"]["memory.cache_bytes"] == {"a": 49152, "b": 24576}
    text = run("diff", "ethos-u55-256", "ethos-u85-1024").out
    line = next(line for line in text.splitlines() if "memory.cache_bytes" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")][1:] == ["49152", "-"]


def test_diff_of_equals_says_so(run: Run) -> None:
    ran = run("diff", "ort-cpu", "ort-cpu")
    assert (ran.code, ran.out.strip()) == (0, "ort-cpu and ort-cpu: no value differs")


def test_schema_is_a_json_schema(run: Run) -> None:
    schema = json.loads(run("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "requant" in schema["properties"]


@pytest.mark.parametrize("arguments", [("show", "ethos-u55"), ("diff", "ort-cpu", "ethos-u55")])
def test_unknown_name_exits_2_with_the_nearest(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.code == 2 and "did you mean ethos-u55-" in ran.err
    assert "Traceback" not in ran.err
    facts = json.loads(run(*arguments, "--json").out)
    assert facts["error"] == "ProfileError" and facts["next"].startswith("did you mean")


def test_broken_file_exits_2_with_its_key(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nname = "mine"\nsummary = "x"\nextends = "int8-npu"\nalgn = 1\n')
    ran = run("show", path)
    assert ran.code == 2 and "algn" in ran.err and "did you mean align?" in ran.err
    missing = run("show", tmp_path / "none.toml")
    assert missing.code == 2 and "No such file" in missing.err


def test_usage_errors_exit_2() -> None:
    result = CliRunner().invoke(cli.app, ["targets", "diff", "ort-cpu"])
    assert result.exit_code == 2 and "Missing argument" in result.output
