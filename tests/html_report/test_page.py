"""The page: self-contained, escaped, the same bytes, right in its figures, readable by machines."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deployq.errors import InputError
from deployq.html_report.page import check_page_path, render_page, write_page
from deployq.verifier.layer_facts import NO_FACTS
from deployq.verifier.report import Limits
from tests.html_report.reports import names, report

VOID = {"meta", "rect", "line", "path", "br", "wbr"}


class Reader(HTMLParser):
    """Every tag is closed where it should be; collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("count", [1, 2, 66])
def test_a_page_is_whole_and_fetches_nothing(count: int) -> None:
    page = render_page(report(names(count)), "net")
    reader = Reader(page)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import|\ssrc=|\shref=", page)
    assert all(name in reader.text for name in names(count))
    folded = 2 * 10 if count > 24 else 0  # the worst of both kinds stand before all
    assert page.count("<svg") == 2 + 3 + 3 * count + folded  # runs, strips; bars and both ranges


def test_names_are_escaped() -> None:
    name = '<script>alert(\'x\')</script>&"q" onload="y'
    page = render_page(report([name, "b"], wrong={name: 7}), name)
    reader = Reader(page)
    assert "<script" not in page and name in reader.text
    assert all("onload" not in attributes for _, attributes in reader.tags)
    assert any(attributes.get("title") == name for _, attributes in reader.tags)


def test_the_same_facts_give_the_same_bytes() -> None:
    first, second = (render_page(report(names(9), wrong={names(9)[3]: 4}), "n") for _ in range(2))
    assert first == second


def test_the_verdict_and_the_misses_are_at_the_top() -> None:
    bad = report(names(20), wrong=dict.fromkeys(names(20)[1:], 3))
    page = render_page(bad, "net")
    top = page[: page.index("<section")]
    assert 'class="verdict bad"' in top and "Limits missed" in top and "11 more" in top
    assert all(miss in Reader(top + "</main></body></html>").text for miss in bad.misses())
    good = render_page(replace(report(names(3)), limits=Limits(64, 10**6, 32)), "net")
    assert 'class="verdict warn"' in good and "less evidence" in good


def test_where_codes_differ_is_marked_and_counted() -> None:
    tensors = names(5)
    page = render_page(report(tensors, wrong={tensors[2]: 30}), "net")
    cells = re.findall(r'<g class="(\w+)"><title>([^<]*)', page)
    assert len(cells) == 3 * 5
    assert [c for c in cells if c[0] == "missed"] == [
        ("missed", f"{tensors[2]}: 30 of 1,000,000 codes differ, up to 1 LSB")
    ]
    assert [c[1] for c in cells if c[0] == "absent"] == [f"{tensors[0]}: not compared here"]
    assert [c[0] for c in cells].count("near") == 1 and "30 by 1 LSB" in page


def test_what_was_not_measured_is_left_out() -> None:
    plain = report(names(2))
    latency = replace(plain.latency, samples_ms=(), float_samples_ms=())
    bare = replace(plain, parities=(), accuracy={}, layers=NO_FACTS, latency=latency)
    text = Reader(render_page(bare, "net")).text
    assert "not measured" in text and "not compared" in text
    assert "Signal to" not in text and "Latency of one" not in text and "Weights and" not in text


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    write_page(report(names(2)), "net", path)
    before = path.read_text(encoding="utf-8")
    assert before == render_page(report(names(2)), "net")

    def full(path: Path, *_: object, **__: object) -> None:
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_page(report(names(3)), "net", path)
    assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_paths_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_page_path(tmp_path / "no/r.html")
    with pytest.raises(InputError, match="found: a folder"):
        check_page_path(tmp_path)
    check_page_path(tmp_path / "r.html")
