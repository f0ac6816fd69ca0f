"""Reports of a check for other programs, held against the published schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import onnx
import pytest
import xmlschema

from deployq.check_command import Format
from deployq.check_formats import FORMATS
from deployq_targets import load_profile
from deployq_targets.checks import RULES, Finding, Severity, check_model
from tests.commands import Ran, run_command
from tests.qgraph.texts import qdq

SCHEMAS = Path(__file__).parent / "fixtures/schemas"
SARIF = jsonschema.Draft7Validator(
    json.loads((SCHEMAS / "sarif-2.1.0.json").read_text()),
    format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER,
)
JUNIT = xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")
EVIL = '<a b="c">&amp; ]]> {0} \'é 漢 \x00\x01\x1b[31m\r\n\t\u2028\ufffe😀'
PROFILE = load_profile("max78000")
FINDINGS = (
    Finding("opset", "text", Severity.ERROR, EVIL, EVIL, EVIL, EVIL, EVIL),
    Finding("opset", "text", Severity.ERROR, "", "", "1", "2", "change it"),
    Finding("fused-clamp", "text", Severity.WARNING, "conv", "", "slow", "fast", "hurry"),
    Finding("alignment", "text", Severity.NOTE, "conv", "y", "3", "8", "pad"),
)
Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "check", *arguments)


def evil_model() -> onnx.ModelProto:
    """A file whose names are what no report expects."""
    model = qdq("wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd)")
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}{EVIL}" for name in names]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.name += EVIL
    return model


def sarif(findings: Any, source: str = "models/net.onnx") -> Any:
    log = json.loads(FORMATS["sarif"](Path(source), PROFILE, findings))
    SARIF.validate(log)
    return log["runs"][0]


def junit(findings: Any, source: str = "models/net.onnx") -> ElementTree.Element:
    text = FORMATS["junit"](Path(source), PROFILE, findings)
    JUNIT.validate(text)
    return ElementTree.fromstring(text)


def test_sarif_has_every_rule_and_every_finding() -> None:
    run = sarif(FINDINGS)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"] for rule in rules)
    first, *_, last = run["results"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [
        finding.rule for finding in FINDINGS
    ]
    assert [result["level"] for result in run["results"]] == ["error", "error", "warning", "note"]
    assert first["properties"] == {"found": EVIL, "allowed": EVIL, "change": EVIL}
    assert "{{0}}" in first["message"]["text"]
    (place,) = last["locations"]
    assert place["logicalLocations"] == [
        {"fullyQualifiedName": "conv", "kind": "node"},
        {"fullyQualifiedName": "y", "kind": "tensor"},
    ]
    assert place["physicalLocation"]["artifactLocation"] == {"uri": "models/net.onnx", "index": 0}


def test_the_schemas_refuse() -> None:
    with pytest.raises(jsonschema.ValidationError):
        SARIF.validate({"version": "2.1.0", "runs": [{"results": []}]})
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        JUNIT.validate("<testsuites><testsuite><testcase/></testsuite></testsuites>")


def test_junit_has_a_case_for_each_rule_and_only_errors_fail() -> None:
    root = junit(FINDINGS)
    cases = {str(case.get("name")): case for case in root.iter("testcase")}
    assert list(cases) == [rule.id for rule in RULES]
    assert [name for name, case in cases.items() if case.find("failure") is not None] == ["opset"]
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(RULES)), "1")
    text = str(cases["opset"].findtext("failure"))
    assert '<a b="c">&amp; ]]> {0} \'é 漢 \\x00\\x01\\x1b[31m\\r\n\t\u2028\\ufffe😀' in text
    assert "found 1, allowed 2; change it" in text
    assert "warning: node 'conv'" in str(cases["fused-clamp"].findtext("system-out"))
    assert "note: node 'conv'" in str(cases["alignment"].findtext("system-out"))


def test_names_of_a_file_survive() -> None:
    findings = check_model(evil_model(), PROFILE)
    assert any(EVIL in finding.tensor for finding in findings)
    assert len(sarif(findings)["results"]) == len(findings)
    failed = {f.rule for f in findings if f.severity is Severity.ERROR}
    assert junit(findings)[0].get("failures") == str(len(failed))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("net.onnx", "net.onnx"),
        ("../a b/n:t.onnx", "../a%20b/n%3At.onnx"),
        ("/home/someone/models/net.onnx", "net.onnx"),
        ("caf\udce9.onnx", "caf%E9.onnx"),
    ],
)
def test_the_file_is_named_as_given_but_by_no_absolute_path(source: str, shown: str) -> None:
    run = sarif(FINDINGS, source)
    assert run["artifacts"] == [{"location": {"uri": shown}}]
    text = FORMATS["junit"](Path(source), PROFILE, FINDINGS) + FORMATS["json"](
        Path(source), PROFILE, FINDINGS
    )
    assert "someone" not in text + json.dumps(run)


def test_the_command_knows_every_format() -> None:
    assert set(Format) == {"table", *FORMATS}


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_is_printed_or_written(form: str, run: Run, tmp_path: Path) -> None:
    source, report = tmp_path / "net.onnx", tmp_path / f"report.{form}"
    source.write_bytes(qdq("v = MaxPool <kernel_shape = [2, 2]> (xd)").SerializeToString())
    arguments = (source, "--target", "max78000", "--format", form)
    printed, err, code = run(*arguments)
    assert (code, err) == (1, "") and str(tmp_path) not in printed
    line, _, code = run(*arguments, "--output", report)
    assert code == 1 and line.startswith("net.onnx on max78000: ") and line.count("\n") == 1
    assert report.read_text() == printed
    if form == "json":
        assert run(source, "--target", "max78000", "--json").out == printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--json", "--format", "sarif"), "a report has one format"),
        (("--output", "report.txt"), "a table is printed, not written"),
        (("--format", "junit", "-o", "none/report.xml"), "the report must be writable"),
        (("--format", "pdf"), "'pdf' is not one of"),
    ],
)
def test_what_cannot_be_written(run: Run, arguments: tuple[str, ...], text: str) -> None:
    _, err, code = run("net.onnx", "--target", "int8-npu", *arguments)
    assert code == 2 and text in err and "Traceback" not in err


def test_a_report_does_not_replace_the_file_that_it_is_about(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(b"weights")
    arguments = (source, "-t", "int8-npu", "--format", "sarif", "-o")
    _, err, code = run(*arguments, tmp_path / "." / "net.onnx")
    assert code == 2 and "a report does not replace" in err and source.read_bytes() == b"weights"


def test_json_has_counts_of_every_severity() -> None:
    facts = json.loads(FORMATS["json"](Path("net.onnx"), PROFILE, FINDINGS))
    assert (facts["errors"], facts["warnings"], facts["notes"]) == (2, 1, 1)
