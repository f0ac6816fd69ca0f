"""Target profiles as tables for people; the same facts go out as JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from deployq.arithmetic.contract import Kind
from deployq.console import open_console
from deployq.graph.support import Support, support
from deployq_targets import TargetProfile
from deployq_targets.describe import differences, stated_values
from deployq_targets.loader import LoadedProfile
from deployq_targets.words import Evidence

Facts = dict[str, Any]

SHOWN = "prepare"
"""Heading of the column that says whether models are prepared today."""


def list_facts(profile: TargetProfile) -> Facts:
    """One entry of the list."""
    found = support(profile)
    return {
        "name": profile.name,
        "kind": profile.kind.value,
        "summary": profile.summary,
        "weight_bits": list(profile.weight.bits),
        "activation_bits": list(profile.activation.bits),
        "requantization": requantization(profile),
        "prepared": found.prepared,
        "reason": found.reason,
        "refused_operators": list(found.refused),
    }


def requantization(profile: TargetProfile) -> str:
    """The default form in a few words: ``fixed31 double``."""
    requant = profile.requant
    if requant.kind is Kind.VENDOR:
        return Kind.VENDOR.value
    return f"{requant.kind.value}{requant.multiplier_bits or ''} {requant.rounding}"


def print_list(facts: list[Facts]) -> None:
    table = Table()
    for column in ("name", "kind", "W/A", "requantization"):
        table.add_column(column, no_wrap=True)
    for column in (SHOWN, "summary"):
        table.add_column(column, overflow="fold", ratio=1)
    for entry in facts:
        widths = "/".join(_widths(entry[key]) for key in ("weight_bits", "activation_bits"))
        cells = (entry["requantization"], _support_text(entry), entry["summary"])
        table.add_row(entry["name"], entry["kind"], widths, *cells)
    open_console().print(table)


def _widths(bits: list[int]) -> str:
    """``4,8``; many are a range: every width between them is one."""
    low, high = min(bits), max(bits)
    whole = len(bits) > 2 and len(bits) == high - low + 1
    return f"{low}-{high}" if whole else ",".join(map(str, bits))


def _support_text(entry: Facts) -> str:
    return str(Support(entry["prepared"], entry["reason"], tuple(entry["refused_operators"])))


def show_facts(loaded: LoadedProfile) -> Facts:
    """The head of a profile and every stated value."""
    profile = loaded.profile
    return {
        "name": profile.name,
        "summary": profile.summary,
        "extends": profile.extends,
        "without": list(profile.without),
        "sources": list(profile.sources),
        "values": {path: value.to_json() for path, value in stated_values(loaded).items()},
    }


def print_show(loaded: LoadedProfile) -> None:
    console, profile = open_console(), loaded.profile
    console.print(f"{profile.name}: {profile.summary}")
    if profile.extends:
        without = f", without {', '.join(profile.without)}" if profile.without else ""
        console.print(f"extends {profile.extends}{without}")
    for source in profile.sources:
        console.print(f"source: {source}")
    table = Table()
    for column in ("key", "value", "evidence", "from"):
        table.add_column(column, overflow="fold")
    for path, value in stated_values(loaded).items():
        cells = (path, _text(value.value), value.evidence.value, value.origin)
        table.add_row(*cells)
    console.print(table)
    words = (f"{tag.value} {tag.name.lower()}" for tag in Evidence)
    console.print(f"evidence: {', '.join(words)}; other keys have the schema's defaults")


def diff_facts(a: TargetProfile, b: TargetProfile) -> Facts:
    """Both names, and both values of every key that differs; null where a profile lacks the key."""
    pairs = differences(a, b)
    found = {key: {"a": left, "b": right} for key, (left, right) in pairs.items()}
    return {"a": a.name, "b": b.name, "differences": found}


def print_diff(facts: Facts) -> None:
    if not facts["differences"]:
        print(f"{facts['a']} and {facts['b']}: no value differs")
        return
    table = Table()
    for column in ("key", facts["a"], facts["b"]):
        table.add_column(column, overflow="fold")
    for key, pair in facts["differences"].items():
        table.add_row(key, _text(pair["a"]), _text(pair["b"]))
    open_console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
