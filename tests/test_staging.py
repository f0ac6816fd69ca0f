"""All or nothing: whatever fails or is killed, the path holds a whole bundle."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployq import staging
from deployq.bundle import read_bundle, recover, write_manifest, writing_bundle
from deployq.errors import InputError

WRITER = """
import sys
from pathlib import Path
from deployq import staging
from deployq.bundle import write_manifest, writing_bundle
if sys.argv[2] == "rename":
    staging._exchange = lambda first, second: False
for turn in range(10**9):
    with writing_bundle(Path(sys.argv[1])) as folder:
        for part in range(8):
            (folder / str(part)).write_text(str(turn) * 1000)
        write_manifest(folder, {"turn": turn})
    print(turn, flush=True)
"""


def write(path: Path, text: str = "old") -> Path:
    with writing_bundle(path) as folder:
        (folder / "a.txt").write_text(text)
        write_manifest(folder, {"a": text})
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_refused_second_rename_rolls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_bundle(write(tmp_path / "net"))
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source.name.endswith("staging"):
            raise OSError(errno.EIO, "no")
        rename(source, target)

    monkeypatch.setattr(staging, "_exchange", lambda first, second: False)
    monkeypatch.setattr(staging.os, "rename", refuse)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "net", "new")
    assert read_bundle(tmp_path / "net") == before


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_a_kernel_without_exchange_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Libc:
        @staticmethod
        def renameat2(*_: object) -> int:
            return -1

    write(tmp_path / "net")
    monkeypatch.setattr(staging.ctypes, "CDLL", lambda *_, **__: Libc)
    monkeypatch.setattr(staging.ctypes, "get_errno", lambda: code)
    assert read_bundle(write(tmp_path / "net", "new")).facts["a"] == "new"


def test_other_refusals_of_exchange_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "net")
    monkeypatch.setattr(staging.ctypes, "get_errno", lambda: errno.EBUSY)
    with pytest.raises(OSError, match="busy"):
        staging._exchange(tmp_path / "none", tmp_path / "net")


@pytest.mark.parametrize("system", ["darwin", "linux without renameat2"])
def test_systems_without_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr(staging.sys, "platform", system.split()[0])
    monkeypatch.setattr(staging.ctypes, "CDLL", lambda *_, **__: object())
    assert not staging._exchange(tmp_path, tmp_path)


@pytest.mark.parametrize("way_killed", ["staged", "aside", "swapped"])
def test_recover_settles_every_state(tmp_path: Path, way_killed: str) -> None:
    write(tmp_path / "net", "old")
    hidden = write(tmp_path / "other", "new")
    hidden.rename(tmp_path / ".net.deployq-staging")
    if way_killed != "staged":
        (tmp_path / "net").rename(tmp_path / ".net.deployq-aside")
    if way_killed == "swapped":
        (tmp_path / ".net.deployq-staging").rename(tmp_path / "net")
    recover(tmp_path / "net")
    assert read_bundle(tmp_path / "net").facts["a"] == ("new" if way_killed == "swapped" else "old")
    assert names(tmp_path) == ["net"]


def test_recover_without_anything_there(tmp_path: Path) -> None:
    recover(tmp_path / "none" / "net")
    assert names(tmp_path) == []


@pytest.mark.parametrize("mode", ["exchange", "rename"])
def test_a_killed_writer_leaves_a_whole_bundle(tmp_path: Path, mode: str) -> None:
    path, last = tmp_path / "net", -1
    for seed in range(5):
        command = [sys.executable, "-c", WRITER, str(path), mode]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None and writer.stdout.readline()
            time.sleep(random.Random(seed).uniform(0, 0.03))
            writer.send_signal(signal.SIGKILL)
            last = int(([0] + [int(n) for n in writer.stdout.read().split("\n")[:-1]])[-1])
        if mode == "rename":
            recover(path)
        turn = read_bundle(path).facts["turn"]
        assert turn in (last, last + 1)
    write(path)
    assert names(tmp_path) == ["net"]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with writing_bundle(tmp_path / "net") as folder:
        with pytest.raises(InputError, match="another one is writing"):
            write(tmp_path / "net", "second")
        write_manifest(folder, {})
    assert not read_bundle(tmp_path / "net").files


def test_a_lock_file_that_was_just_deleted_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, calls = staging.fcntl.flock, []

    def late(handle: int, how: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            (tmp_path / ".net.deployq-lock").unlink()
        flock(handle, how)

    monkeypatch.setattr(staging.fcntl, "flock", late)
    read_bundle(write(tmp_path / "net"))
    assert len(calls) == 2


def test_a_place_is_looked_at_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging.check_place(tmp_path / "new/net")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(staging.os, "access", lambda path, how: False)
    with pytest.raises(InputError, match=r"cannot be written here(?s:.*)may not be written"):
        staging.check_place(tmp_path / "new/net")


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(staging.fcntl, "flock", refuse)
    with pytest.raises(InputError, match="no locks available"):
        write(tmp_path / "net")
