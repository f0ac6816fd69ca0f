"""Bundles: replaced only where deployq wrote, checked when read."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployq import staging
from deployq.bundle import MANIFEST, read_bundle, write_manifest, writing_bundle
from deployq.errors import InputError, UnsafeFileError


def write(path: Path, text: str = "old") -> Path:
    with writing_bundle(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "model.onnx").write_text(text)
        (folder / "a.txt").write_text(text)
        write_manifest(folder, {"b": 1, "a": text})
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(params=["exchange", "rename"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rename":
        monkeypatch.setattr(staging, "_exchange", lambda first, second: False)
    return str(request.param)


def test_write_then_read(tmp_path: Path, way: str) -> None:
    bundle = read_bundle(write(tmp_path / "new" / "net"))
    assert [file.path for file in bundle.files] == ["a.txt", "sub/model.onnx"]
    assert dict(bundle.facts) == {"a": "old", "b": 1}
    read_bundle(write(tmp_path / "new" / "net", "newer text"))
    assert names(tmp_path / "new") == ["net"]


def test_same_input_gives_same_bytes_in_any_folder(tmp_path: Path) -> None:
    first, second = write(tmp_path / "x"), write(tmp_path / "deep" / "y")
    text = (first / MANIFEST).read_bytes()
    assert text == (second / MANIFEST).read_bytes()
    assert text.endswith(b"}\n") and str(tmp_path).encode() not in text


def test_an_empty_folder_is_replaced(tmp_path: Path, way: str) -> None:
    (tmp_path / "net").mkdir()
    read_bundle(write(tmp_path / "net"))


def test_an_exception_keeps_the_old_bundle(tmp_path: Path, way: str) -> None:
    before = read_bundle(write(tmp_path / "net"))
    with pytest.raises(KeyboardInterrupt), writing_bundle(tmp_path / "net") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert read_bundle(tmp_path / "net") == before
    assert names(tmp_path) == ["net"]


def test_users_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(write(tmp_path / "real"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / MANIFEST).write_text('{"name": "an app"}')
    write(tmp_path / "noted")
    (tmp_path / "noted" / "notes.txt").write_text("mine")
    for name in ("file", "link", "folder", "web", "noted"):
        with pytest.raises(InputError, match="only a bundle or an empty folder"):
            write(tmp_path / name)
    assert (tmp_path / "noted" / "notes.txt").read_text() == "mine"
    assert not [name for name in names(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("path", ["/", "file/net"])
def test_impossible_places_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        write(tmp_path / path)


def test_a_block_without_manifest_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="write_manifest"), writing_bundle(tmp_path / "net"):
        pass
    assert names(tmp_path) == []


def test_reading_names_the_first_file_that_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "net")
    (path / "extra").write_text("x")
    with pytest.raises(InputError, match=r"extra: .*\n.*does not name"):
        read_bundle(path)
    (path / "extra").unlink()
    (path / "sub" / "model.onnx").write_text("OLD")
    with pytest.raises(InputError, match=r"model.onnx: "):
        read_bundle(path)
    (path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a.txt: .*\n.*missing"):
        read_bundle(path)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "C:/a", "a\\b", "", MANIFEST])
def test_manifest_names_that_leave_the_folder_are_unsafe(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "net")
    text = (path / MANIFEST).read_text().replace('"a.txt"', json.dumps(name))
    (path / MANIFEST).write_text(text)
    with pytest.raises(UnsafeFileError, match="inside its own folder"):
        read_bundle(path)


@pytest.mark.parametrize(
    "edit",
    [
        ('"schema_version": 2', '"schema_version": 3'),
        ('"schema_version": 2', '"schema_version": 1'),
        ("deployq-bundle", "other"),
        ("{", "["),
        ('"sub/model.onnx"', '"a.txt"'),
        ('"size": 3', '"size": "3"'),
    ],
)
def test_other_manifests_are_refused(tmp_path: Path, edit: tuple[str, str]) -> None:
    path = write(tmp_path / "net")
    (path / MANIFEST).write_text((path / MANIFEST).read_text().replace(*edit))
    with pytest.raises(InputError, match="manifest"):
        read_bundle(path)


def test_no_bundle(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    file.touch()
    wrong = {tmp_path: "no manifest", tmp_path / "none": "no such folder", file: "a file"}
    for path, found in wrong.items():
        with pytest.raises(InputError, match=f"found: {found}"):
            read_bundle(path)


@pytest.mark.parametrize("target", ["file", MANIFEST])
def test_links_in_a_bundle_are_unsafe(tmp_path: Path, target: str) -> None:
    path = write(tmp_path / "net")
    (tmp_path / "secret").write_text("{}")
    (path / target).unlink(missing_ok=True)
    (path / target).symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="regular file"):
        read_bundle(path)


def test_odd_file_names_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match="portable"), writing_bundle(tmp_path / "n") as folder:
        (folder / "a\\b").write_text("x")
        write_manifest(folder, {})


@pytest.mark.parametrize("name", ["a.txt", MANIFEST])
def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(tmp_path / "net")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "denied", str(path / name))

    if name == MANIFEST:
        monkeypatch.setattr(Path, "read_bytes", refuse)
    else:
        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=f"{name}.*readable"):
        read_bundle(path)


@pytest.mark.parametrize("facts", [{"x": float("nan")}, {"x": object()}])
def test_facts_are_json(tmp_path: Path, facts: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_manifest(tmp_path, facts)


def test_imports_are_light() -> None:
    code = "import sys, deployq.bundle, deployq.data; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
