"""Finding and reading files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployq.errors import ProfileError
from deployq_targets import load_profile

if TYPE_CHECKING:  # every folder of tests has a module of this name
    from conftest import Write


def refusal(reference: str | Path) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(reference))
    return caught.value


def test_path_is_loaded(write: Write) -> None:
    assert load_profile(str(write("board.toml"))).name == "board"


def test_path_is_relative_to_the_working_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write("board.toml").parent)
    assert load_profile("board.toml").name == "board"


def test_unknown_name_suggests_the_nearest() -> None:
    error = refusal("int4-nup")
    assert error.next_step == "did you mean int4-npu?"
    assert "ort-cpu" in error.allowed


def test_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.toml")
    assert error.where.endswith("none.toml")
    assert error.found == "No such file or directory"


def test_other_encoding_is_refused(write: Write) -> None:
    path = write("board.toml")
    path.write_bytes(b'name = "\xff"')
    assert refusal(path).found == "not UTF-8"


@pytest.mark.parametrize(
    ("text", "line"),
    [("schema = 1\nname = = 2\n", 2), ('schema = 1\n\nname = """open\n', 3)],
    ids=["in a line", "at the end"],
)
def test_toml_syntax_error_names_the_line(write: Write, text: str, line: int) -> None:
    error = refusal(write("board.toml", text))
    assert error.where.endswith(f"board.toml, line {line}")
    assert error.rule == "the file is not TOML 1.0"
