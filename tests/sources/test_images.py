"""Images from folders and archives: their labels, their sizes, and what is refused."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deployq.columns import Columns, LazyColumn
from deployq.errors import InputError, UnsafeFileError
from deployq.sources import DataRequest, Preprocessing, open_dataset, open_samples

pytest.importorskip("PIL", reason="images need the extra deployq[images]")
from PIL import Image

RAW = Preprocessing("x")
SHAPE = {"image": (0, 3, 4, 4)}
DATA = Path(os.environ.get("DEPLOYQ_DATA", "../shared/data"))


def png(value: int, size: tuple[int, int] = (4, 4), mode: str = "RGB") -> bytes:
    """One color, (width, height)."""
    stream = io.BytesIO()
    Image.new(mode, size, value if mode != "RGB" else (value, 1, 2)).save(stream, "PNG")
    return stream.getvalue()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


BY_CLASS = {
    "set/b/2.png": png(2),
    "set/a/1.png": png(1),
    "set/b/.DS_Store": b"",
    "set/a/0.txt": b"",
}
LISTED = {"2.png": png(2), "a/1.png": png(1), "labels.csv": b"file,label\n2.png,7\na/1.png,3\n"}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("files", "first", "labels"),
    [(BY_CLASS, [1, 2], [0, 1]), (LISTED, [2, 1], [7, 3]), ({"1.png": png(1)}, [1], None)],
    ids=["by class", "labels.csv", "flat"],
)
def test_images_and_their_labels(
    kind: str, files: dict[str, bytes], first: list[int], labels: list[int] | None, tmp_path: Path
) -> None:
    path = folder(tmp_path / "x", files) if kind == "folder" else zipped(tmp_path / "x.zip", files)
    data = open_dataset(str(path), SHAPE, preprocessing=RAW)
    assert data.inputs["image"][:, 0, 0, 0].tolist() == first
    assert (None if data.labels is None else data.labels.tolist()) == labels
    assert data.inputs["image"].dtype == np.float32


def test_a_labels_file_apart_chooses_and_orders(tmp_path: Path) -> None:
    files = folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "3.png": png(3)})
    (tmp_path / "own.csv").write_text("label,file\n5,3.png\n6,1.png\n")
    data = open_dataset(str(files), SHAPE, preprocessing=RAW, labels=tmp_path / "own.csv")
    assert data.inputs["image"][:, 0, 0, 0].tolist() == [3, 1]
    assert data.labels is not None and data.labels.tolist() == [5, 6]


def test_images_stay_bytes_until_a_batch_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path, {f"{i}.png": png(i) for i in range(5)})
    data = open_dataset(str(path), SHAPE, preprocessing=Preprocessing("x/255"))
    column = data.take(3).columns["image"]
    assert isinstance(column, LazyColumn) and column.source.dtype == np.uint8 and len(data) == 5
    assert column.shape == (3, 3, 4, 4)
    batches = list(data.batches(2))
    assert [type(batch.columns["image"]) for batch in batches] == [np.ndarray] * 3
    whole = np.concatenate([batch.inputs["image"] for batch in batches])
    np.testing.assert_array_equal(whole, data.inputs["image"], strict=True)


def test_resize_and_crop_are_those_of_pillow(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    stated = Preprocessing("x", resize=6, crop=(4, 5), layout="nhwc")
    data = open_dataset(str(tmp_path), {"x": (0, 4, 5, 3)}, preprocessing=stated)
    resized = np.asarray(Image.fromarray(pixels).resize((8, 6), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(data.inputs["x"][0], resized[1:5, 2:7])  # 1.5 rounds to 2
    exact = Preprocessing("x", size=(4, 5), interpolation="nearest", layout="nhwc")
    data = open_dataset(str(tmp_path), {"x": (0, 4, 5, 3)}, preprocessing=exact)
    nearest = np.asarray(Image.fromarray(pixels).resize((5, 4), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(data.inputs["x"][0], nearest)


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a.png": png(9, mode="L")})
    gray = Preprocessing("x", channels="gray")
    data = open_dataset(str(path), {"x": (0, 1, 4, 4)}, preprocessing=gray)
    assert (data.inputs["x"] == 9).all()


def test_images_without_preprocessing_say_what_to_state(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)never guessed.*scale, such as.*deployq\.toml"):
        open_samples(DataRequest(str(folder(tmp_path, {"a.png": png(1)}))))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"notes.txt": b"", "b.py": b""}, r"2 files, none of them an image.*allowed: \.bmp"),
        ({"a.png": png(1), "b.png": png(1, (5, 4))}, r"b\.png: all images have one size.*4x5"),
        ({"a.png": png(1)[:40]}, r"a\.png: the image cannot be read"),
        ({"a.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "cannot be read.*UnidentifiedImageError"),
        ({"a.png": png(1, mode="I;16")}, "mode I;16, more than 8 bits"),
        ({"a.png": png(1), "b/c.png": png(1)}, "images in the root, b.*labels.csv"),
        ({"a/1.png": png(1), "b/c/2.png": png(1)}, "one folder a class"),
        ({"labels.csv": b"name,class\n"}, "columns name, class.*file,label"),
        ({"labels.csv": b"file,label\n"}, "no rows"),
        ({"labels.csv": b"file,label\na.png,0\n"}, r"line 2: .*'a.png', which is not in"),
        ({"a.png": png(1), "labels.csv": b"file,label\na.png,-1\n"}, "label '-1' of a.png"),
        ({"a.png": png(1), "labels.csv": b"file,label\na.png,cat\n"}, "label 'cat' of a.png"),
        ({"a.png": png(1), "labels.csv": b"file,label\na.png\n"}, "label None of a.png"),
        ({"a.png": png(1), "labels.csv": b"file,label\na.png,0\na.png,1\n"}, "named twice"),
        ({"labels.csv": b"\xff\xfe"}, "not UTF-8"),
    ],
)
def test_broken_sets_are_refused_by_name(
    files: dict[str, bytes], text: str, tmp_path: Path
) -> None:
    for path in (folder(tmp_path / "x", files), zipped(tmp_path / "x.zip", files)):
        with pytest.raises(InputError, match=f"(?s){text}.*next: "):
            open_samples(DataRequest(str(path), RAW))


def test_an_image_smaller_than_the_crop_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a.png": png(1)})
    with pytest.raises(InputError, match=r"(?s)a\.png: .*found: 4x4.*5x5 or more.*next: state re"):
        open_samples(DataRequest(str(path), Preprocessing("x", crop=5)))


def test_a_missing_labels_file_and_one_for_arrays(tmp_path: Path) -> None:
    path = folder(tmp_path / "x", {"a.png": png(1)})
    with pytest.raises(InputError, match="cannot read the labels file"):
        open_samples(DataRequest(str(path), RAW, tmp_path / "none.csv"))
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match=r"(?s)labels file is for images.*array y"):
        open_samples(DataRequest(str(tmp_path / "a.npz"), None, tmp_path / "none.csv"))


def test_an_archive_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match="safe name"):
        open_samples(DataRequest(str(zipped(tmp_path / "a.zip", {"../a.png": png(1)})), RAW))


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path, {"a.png": png(1, (40, 40))})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 1600 warns, over 2000 is refused
    with pytest.raises(InputError, match="DecompressionBomb"):
        open_samples(DataRequest(str(path), RAW))
    monkeypatch.setattr("deployq.sources.image_set.MAX_BYTES", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10000)
    with pytest.raises(InputError, match="memory limit"):
        open_samples(DataRequest(str(path), RAW))


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path, {"a.png": png(1)})
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"(?s)Pillow.*pip install deployq\[images\]"):
        open_samples(DataRequest(str(path), RAW))


def test_bytes_in_arrays_are_images_where_it_is_stated(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, y=np.array([0, 1], np.uint8), names=np.array(["a", "b"]))
    path = str(tmp_path / "a.npz")
    data = open_dataset(path, SHAPE, preprocessing=Preprocessing("x", crop=4))
    np.testing.assert_array_equal(data.inputs["image"], pixels[:, 1:5, 1:5].transpose(0, 3, 1, 2))
    with pytest.raises(InputError, match=r"(?s)found: uint8.*next: state \[preprocessing\]"):
        open_dataset(path, SHAPE)
    np.savez(tmp_path / "b.npz", x=pixels[..., 0])
    gray = Preprocessing("x", channels="gray", size=3)
    assert open_dataset(str(tmp_path / "b.npz"), {"x": (0, 1, 3, 3)}, preprocessing=gray)


def test_arrays_that_are_no_images_stay_as_they_are(tmp_path: Path) -> None:
    x = np.zeros((2, 3, 4, 4), np.float32)
    np.savez(tmp_path / "a.npz", x=x)
    data = open_dataset(str(tmp_path / "a.npz"), SHAPE, preprocessing=Preprocessing("x/255"))
    assert isinstance(data.columns["image"], np.ndarray)
    np.savez(tmp_path / "b.npz", x=x.astype(np.uint8))  # NCHW
    with pytest.raises(InputError, match="found: uint8"):
        open_dataset(str(tmp_path / "b.npz"), SHAPE, preprocessing=RAW)


@pytest.mark.parametrize("name", ["nothing.npz", "data.txt", "nothing"])
def test_other_data_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("")
    with pytest.raises(InputError, match=r"(?s)found: (No such file|a \.txt file).*next: "):
        open_samples(DataRequest(str(tmp_path / name)))


def test_columns_are_a_mapping() -> None:
    lazy = LazyColumn(np.arange(3, dtype=np.uint8), lambda x: x * 2.0, (), np.dtype(np.float64))
    columns = Columns({"a": np.zeros(3), "b": lazy})
    assert dict(columns)["b"].tolist() == [0, 2, 4] and len(columns) == 2 and lazy.ndim == 1
    assert columns.rows(1, 3).made().stored()["b"].tolist() == [2, 4]  # type: ignore[union-attr]  # made


@pytest.mark.skipif(not (DATA / "imagenet").is_dir(), reason="no DEPLOYQ_DATA with imagenet")
def test_imagenet_is_read_from_its_archive() -> None:
    path = DATA / "imagenet/imagenet_calib500_227.zip"
    stated = Preprocessing("x/255", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=224)
    data = open_dataset(str(path), {"input": (0, 3, 224, 224)}, preprocessing=stated)
    assert len(data) == 500 and data.labels is not None and len(set(data.labels.tolist())) == 500
    with zipfile.ZipFile(path) as archive:
        name = archive.read("labels.csv").decode().splitlines()[1].split(",")[0]
        pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))[2:226, 2:226]
    mean, std = np.array(stated.mean, np.float32), np.array(stated.std, np.float32)
    expected = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_array_equal(data.take(1).inputs["input"][0], expected.transpose(2, 0, 1))


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="no DEPLOYQ_DATA with cifar10")
def test_cifar10_is_read_from_its_arrays() -> None:
    stated = Preprocessing("x/127.5-1")
    path = str(DATA / "cifar10/cifar10_test8k.npz")
    data = open_dataset(path, {"x": (0, 3, 32, 32)}, preprocessing=stated)
    first = next(data.batches(64)).inputs["x"]
    assert first.shape == (64, 3, 32, 32) and -1 <= first.min() < -0.9 and 0.9 < first.max() <= 1
