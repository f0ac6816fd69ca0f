"""The small language of [[op]] expr: it means what Python means, and runs nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.errors import ProfileError
from deployq_targets import load_profile
from deployq_targets.inequality import LONGEST, POSITION_NAMES, SHAPE_NAMES, parse_inequality
from deployq_targets.loader import parse_profile

COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]
NAMES = [*SHAPE_NAMES, *POSITION_NAMES]

atoms = st.one_of(
    st.integers(0, 9).map(str), st.sampled_from(["0.5", "2.0"]), st.sampled_from(NAMES)
)


def _sums(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    both = st.builds("{} {} {}".format, inner, words, inner)
    return st.one_of(both, both.map("({})".format), inner.map("-{}".format))


numbers = st.recursive(atoms, _sums, max_leaves=5)
compared = st.one_of(
    st.builds("{} {} {}".format, numbers, st.sampled_from(COMPARISONS), numbers),
    st.builds("{} <= {} < {}".format, numbers, numbers, numbers),
    st.builds("{} in ({}, {})".format, numbers, numbers, numbers),
    st.builds("{} not in ({},)".format, numbers, numbers),
)


def _truths(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner)
    return st.one_of(both, both.map("({})".format), inner.map("not {}".format))


truths = st.recursive(compared, _truths, max_leaves=4).filter(lambda text: len(text) <= LONGEST)
values = st.fixed_dictionaries({name: st.integers(-20, 20) for name in NAMES})


def outcome(run: Any) -> object:
    try:
        return run()
    except ArithmeticError as error:
        return type(error)


@settings(max_examples=300, deadline=None)
@given(truths, values)
def test_it_means_what_python_means(text: str, facts: dict[str, int]) -> None:
    expected = outcome(lambda: bool(eval(text, {"__builtins__": {}}, dict(facts))))
    assert outcome(lambda: parse_inequality(text).holds(facts)) == expected


def test_numbers_may_be_long() -> None:
    assert parse_inequality(f"kh < {10**320}").holds({"kh": 3})  # beyond floats


def test_names_are_those_it_reads() -> None:
    assert parse_inequality("kh == kw and 0 < cin").names == {"kh", "kw", "cin"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("depth < 3", "depth is none of kh, kw, "),
        ("__import__('os').system('true') == 0", "is no number, name"),
        ("kh.real == 1", "'kh.real' is no number"),
        ("abs(kh) == 1", "'abs(kh)' is no number"),
        ("(lambda: 1)() == 1", "is no number"),
        ("[c for c in (1, 2)] == 1", "is no number"),
        ("kh ** 9 < 3", "is no number"),
        ("kh << 9 < 3", "is no number"),
        ("kh if kw else sh", "is no comparison"),
        ("(kh := 3) < 4", "is no number"),
        ("kh", "'kh' is no comparison"),
        ("kh and kw > 1", "'kh' is no comparison"),
        ("(kh < 1) < 2", "is no number"),
        ("not kh", "'kh' is no comparison"),
        ("kh < True", "'True' is no number"),
        ("kh == 'a'", "is no number"),
        ("kh == 1e999", "is no number"),
        ("kh == 2j", "is no number"),
        ("kh is 1", "Is is none of"),
        ("kh in kw", "'kw': in is followed by numbers"),
        ("1 in (1, 2) in (3, 4)", "in is followed by numbers"),
        ("kh in ((1, 2), 3)", "is no number"),
        ("kh <", "is no expression"),
        ("kh < 3; kw", "is no expression"),
        ("", "is no expression"),
        ("kh < \0", "is no expression"),
        ("(" * 300 + "kh < 1" + ")" * 90, "is no expression"),
        ("kh < 1" + " " * LONGEST, "more than 400"),
    ],
)
def test_everything_else_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_inequality(text)
    assert fault in str(caught.value)


def test_a_profile_with_a_wrong_one_does_not_load() -> None:
    table = load_profile("int8-npu").model_dump(mode="json")
    conv = next(rule for rule in table["op"] if rule["type"] == "Conv")
    conv["expr"] = "kh == kw and kh != 2"
    parse_profile(table, "test")
    conv["expr"] = "kernel == 3"
    with pytest.raises(ProfileError, match=r"(?s)op\.Conv\.expr.*kernel is none of kh, kw"):
        parse_profile(table, "test")
