"""The page of the matrix: whole, escaped, the same bytes, and what each runtime said."""

from __future__ import annotations

import re

from deployq.html_report.matrix_page import render_matrix
from deployq.runtimes.row import Codes, Row, State
from deployq.verifier.report import Top1
from tests.html_report.test_page import Reader

RAN = Row(
    "onnxruntime", "ONNX Runtime, CPU", State.RAN, "1.31", integer_share=1.0, samples=64,
    contract="ort-cpu", simulated=Codes(640, 0, 0), reference=Codes(640, 12, 1),
    top1=Top1(60, 60, 4), metric="top-1", accuracy=0.9, median_ms=0.5, ratio=1.0,
)  # fmt: skip
APART = Row(
    "litert", "LiteRT", State.RAN, "2.3", simulated=Codes(640, 3, 2), contract="litert-ref",
    first="conv1.codes[0]: 4, the contract says 5", floats=("head",), median_ms=0.25, ratio=0.5,
)  # fmt: skip
COMPILED = Row("ethos-u", "Vela", State.COMPILED, "5.2", facts={"sram_bytes": 6144, "dram": None})
MISSING = Row(
    "tensorrt", "TensorRT", State.NOT_RUN, reason="<not installed>", install="pip install x"
)
ROWS = (RAN, APART, COMPILED, MISSING)


def test_a_page_has_every_runtime_and_what_it_says() -> None:
    misses = [miss for row in ROWS for miss in row.misses(named=True)]
    page = render_matrix(ROWS, "net & co", "top-1", misses)
    reader = Reader(page)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import|\ssrc=|\shref=", page)
    assert "<not installed>" not in page and "net & co" in reader.text
    wanted = (
        "3 of 4 runtimes accept", "2 limits missed", "<not installed>; pip install x",
        "sram_bytes 6144", "the contract says 5", "outside integer kernels: head",
        "fastest on this machine: litert", "12 (by 1)", "60 of 60", "90.00 %",
    )  # fmt: skip
    assert [text for text in wanted if text not in reader.text] == []
    assert page.count('<tr class="bad">') == 1
    assert "dram" not in reader.text.replace("sram", "")


def test_the_same_rows_give_the_same_bytes() -> None:
    first, second = (render_matrix(ROWS, "net", "", []) for _ in range(2))
    assert first == second and 'class="verdict good"' in first
