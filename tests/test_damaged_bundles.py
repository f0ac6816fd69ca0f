"""A bundle with a changed byte, and an export onto a disk that is full."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deployq import cli, pipeline
from deployq.bundle import CANONICAL_FILE, read_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.prepared_files import load_prepared_model
from deployq.manifest import MANIFEST, read_manifest

STORED = Path(__file__).parent / "fixtures/bundles/v3"
FILES = sorted(path.name for path in STORED.iterdir())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "net"))


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str]]:
    """Run the entry point; returns exit code and standard error."""

    def run(*arguments: str | Path) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["deployq", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return run


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_verify_names_the_file_with_a_changed_byte(
    bundle: Path, command_line: Callable[..., tuple[object, str]], name: str, part: float
) -> None:
    flip(bundle / name, int(part * ((bundle / name).stat().st_size - 1)))
    code, text = command_line("verify", bundle, "--data", bundle / "no.npz")
    assert code == 2 and f"{bundle / name}: " in text and "Traceback" not in text


@pytest.mark.parametrize("command", ["export", "tune"])
@pytest.mark.parametrize("missing", [False, True], ids=["changed", "no manifest"])
def test_what_goes_on_from_a_bundle_looks_at_every_file(
    bundle: Path, command_line: Callable[..., tuple[object, str]], command: str, missing: bool
) -> None:
    calib = bundle.parent / "calib.npz"
    np.savez(calib, x=np.zeros((64, 1, 8, 8), np.float32))
    if missing:
        (bundle / MANIFEST).unlink()
    else:
        flip(bundle / CANONICAL_FILE, 100)
    output = bundle.parent / "next"
    code, text = command_line(command, bundle, "--calib", calib, "-o", output)
    named = bundle if missing else bundle / CANONICAL_FILE
    assert code == 2 and f"{named}: " in text and not output.exists()


def test_bytes_all_over_the_manifest_count(bundle: Path) -> None:
    file = bundle / MANIFEST
    for position in range(0, file.stat().st_size, 7):
        flip(file, position)
        with pytest.raises(InputError, match=MANIFEST):
            read_manifest(bundle)
        flip(file, position)
    read_manifest(bundle)


def test_a_manifest_with_nan_is_refused(bundle: Path) -> None:
    file = bundle / MANIFEST
    file.write_text(file.read_text().replace('"opset": 21', '"opset": NaN'))
    with pytest.raises(InputError, match=MANIFEST):
        read_bundle(bundle)


WRITES = ["model.onnx", "model.onnxruntime.onnx", "prepared.safetensors", "prepared.json", MANIFEST]


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_the_old_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whichever file meets the end of the disk, half of it written."""
    before, write = read_bundle(bundle), Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if name not in path.name:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", lambda path, text, **_: full(path, text.encode()))
    with pytest.raises(InputError, match=r"cannot be written(.|\n)*free some space"):
        pipeline.export(load_prepared_model(STORED), bundle, golden_inputs())
    assert read_bundle(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["net"]


def golden_inputs() -> Dataset:
    return Dataset({"x": np.load(STORED / "golden.npz")["input/x"]})


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=16k none {disk} || exit 77
"$@"; code=$?
ls -A {disk}
exit $code
"""


def test_export_onto_a_full_disk_exits_2(tmp_path: Path) -> None:
    """A real disk of four pages, in a mount namespace of its own."""
    disk, data = tmp_path / "disk", tmp_path / "calib.npz"
    disk.mkdir()
    x = np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype(np.float32)
    np.savez(data, input=x)
    net = tmp_path / "prepared"
    prepared = pipeline.prepare(nn.Conv2d(3, 4, 3).eval(), [torch.zeros(2, 3, 6, 6)], "int4-npu")
    pipeline.save_prepared(pipeline.calibrate(prepared, Dataset({"input": x})), net)
    script = ON_A_SMALL_DISK.format(disk=disk)
    export = [sys.executable, "-m", "deployq", "export", net, "--target", "int4-npu"]
    command = [*export, "--calib", data, "-o", disk / "net"]
    try:
        result = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", *map(str, command)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        )
    except FileNotFoundError:
        pytest.skip("no unshare here: no file system of its own for the test")
    if result.returncode in (1, 77):
        pytest.skip(f"no mount allowed here: {result.stderr.strip()}")
    assert result.returncode == 2 and result.stdout == ""
    assert "No space left on device" in result.stderr and "free some space" in result.stderr
    assert "Traceback" not in result.stderr
