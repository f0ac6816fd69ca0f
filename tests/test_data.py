"""Datasets: plain numeric arrays under the model's names; nothing is unpickled or cast."""

from __future__ import annotations

import io
import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deployq.data import Dataset, check_dataset, load_arrays, load_dataset
from deployq.errors import InputError, UnsafeFileError

X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
Y = np.array([0, 1, 2, 3])


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # object arrays are made on purpose
    return path


def archive(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            out.writestr(info, data)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY" + version + len(raw).to_bytes(2, "little") + raw


@pytest.mark.parametrize(
    "array",
    [
        X,
        X.T,
        X.astype(">f4"),
        np.float64(3.5),
        np.zeros((0, 3)),
        Y.astype(np.uint8),
        Y > 1,
    ],
    ids=str,
)
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_saved(tmp_path: Path, array: np.ndarray, write) -> None:  # type: ignore[no-untyped-def]  # numpy overloads
    write(tmp_path / "a.npz", a=array)
    back = load_arrays(tmp_path / "a.npz")["a"]
    np.testing.assert_array_equal(back, array, strict=True)
    assert not back.flags.writeable


def test_long_headers_are_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, X, version=(2, 0))
    back = load_arrays(archive(tmp_path / "a.npz", {"a.npy": stream.getvalue()}))
    np.testing.assert_array_equal(back["a"], X)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_object_arrays_are_refused_unread(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    save(tmp_path / "a.npz", a=np.array([Bomb(marker)], dtype=object))
    with pytest.raises(UnsafeFileError, match="can run code"):
        load_arrays(tmp_path / "a.npz")
    assert not marker.exists()


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(InputError, match="not a zip archive"):
        load_arrays(tmp_path / "a.npz")
    archive(tmp_path / "b.npz", {"a.npy": pickle.dumps(Bomb(marker))})
    with pytest.raises(InputError, match=r"not a plain \.npy"):
        load_arrays(tmp_path / "b.npz")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../a.npy", "/a.npy", "a/../../b.npy", "C:/a.npy", "a\nb.npy"])
def test_unsafe_member_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeFileError, match="safe name"):
        load_arrays(archive(tmp_path / "a.npz", {name: npy(X)}))


def test_slashes_in_names_are_kept(tmp_path: Path) -> None:
    assert list(load_arrays(archive(tmp_path / "a.npz", {"in/x:0.npy": npy(X)}))) == ["in/x:0"]


@pytest.mark.parametrize("name", ["code.py", "data.pkl", ".npy"])
def test_members_that_are_no_arrays(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeFileError, match=r"\.npy members only"):
        load_arrays(archive(tmp_path / "a.npz", {name: b""}))


def test_links_and_doubles_in_the_archive(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match="symbolic link"):
        load_arrays(archive(tmp_path / "a.npz", {"a.npy": b"/etc"}, stat.S_IFLNK | 0o777))
    with (
        zipfile.ZipFile(archive(tmp_path / "b.npz", {"a.npy": npy(X)}), "a") as out,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        out.writestr("a.npy", npy(X))
    with pytest.raises(UnsafeFileError, match="twice"):
        load_arrays(tmp_path / "b.npz")


def test_encrypted_and_damaged_members(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.npz", {"a.npy": npy(X)}).read_bytes()
    directory = good.index(b"PK\x01\x02")
    (tmp_path / "b.npz").write_bytes(good[: directory + 8] + b"\x01" + good[directory + 9 :])
    with pytest.raises(InputError, match="encrypted"):
        load_arrays(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(good[: directory - 1] + b"\xff" + good[directory:])
    with pytest.raises(InputError, match="damaged"):
        load_arrays(tmp_path / "c.npz")


def test_decompression_bombs(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20, np.float32))
    with pytest.raises(InputError, match=r"4194432 bytes\n.*at most 1000000"):
        load_arrays(tmp_path / "a.npz", max_bytes=1_000_000)
    assert len(load_arrays(tmp_path / "a.npz")) == 1


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}") + bytes(4),
        npy(X) + b"more",
        header("{'descr'"),
        header("{}", b"\x03\x00"),
        b"",
    ],
)
def test_headers_that_lie(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"does not fit|not a plain"):
        load_arrays(archive(tmp_path / "a.npz", {"a.npy": data}))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.zeros(2, "f4,i4")], ids=str)
def test_other_types_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"real numbers|not a plain"):
        load_arrays(save(tmp_path / "a.npz", a=array))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    bad = X.copy()
    bad[2, 1, 0] = bad[3, 0, 0] = value
    with pytest.raises(InputError, match=rf"a: .*\n.*{value} at index \(2, 1, 0\)"):
        load_arrays(save(tmp_path / "a.npz", a=bad))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_arrays(tmp_path / "none.npz")


def test_dataset_slices() -> None:
    data = Dataset({"x": X}, Y)
    assert [len(batch) for batch in data.batches(3)] == [3, 1]
    first = data.take(2)
    np.testing.assert_array_equal(first.inputs["x"], X[:2])
    assert first.labels is not None and list(first.labels) == [0, 1]
    assert next(Dataset({"x": X}).batches(9)).labels is None


@pytest.mark.parametrize("n", [0, 5])
def test_take_stays_in_range(n: int) -> None:
    with pytest.raises(InputError, match=r"1\.\.4"):
        Dataset({"x": X}).take(n)


def test_a_batch_has_samples() -> None:
    with pytest.raises(InputError, match="batch size"):
        Dataset({"x": X}).batches(0)


@pytest.mark.parametrize("inputs", [{}, {"x": X, "z": X[:3]}, {"x": X[:0]}, {"x": np.float32(1)}])
def test_lengths_are_equal_and_positive(inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="number of samples"):
        Dataset(inputs)


@pytest.mark.parametrize("labels", [Y.astype(float), Y[:, None]])
def test_labels_are_integers(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"integer \(4,\), or \(4, T\)"):
        Dataset({"x": X}, labels)


def test_load_by_name_and_by_x(tmp_path: Path) -> None:
    named, short = save(tmp_path / "a.npz", image=X, y=Y), save(tmp_path / "b.npz", x=X)
    shapes = {"image": (1, None, 2)}
    np.testing.assert_array_equal(load_dataset(named, ["image"]).inputs["image"], X)
    short_data = load_dataset(short, ["image"], input_shapes=shapes)
    assert list(short_data.inputs) == ["image"] and short_data.labels is None


def test_an_input_named_y_is_an_input(tmp_path: Path) -> None:
    assert load_dataset(save(tmp_path / "a.npz", x=X, y=X), ["x", "y"]).labels is None


@pytest.mark.parametrize(
    ("arrays", "wanted", "missing", "extra"),
    [
        ({"x": X}, ["a", "b"], "a, b", "x"),
        ({"a": X, "x": X}, ["a"], "none", "x"),
        ({"y": Y}, ["a"], "a", "none"),
    ],
)
def test_missing_and_extra_arrays(
    tmp_path: Path, arrays: dict[str, object], wanted: list[str], missing: str, extra: str
) -> None:
    with pytest.raises(InputError, match=rf"missing: {missing}; extra: {extra}"):
        load_dataset(save(tmp_path / "a.npz", **arrays), wanted)


def test_images_in_bytes_are_not_cast(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=X.astype(np.uint8))
    with pytest.raises(InputError, match=r"uint8(.|\n)*normalise as in training"):
        load_dataset(path, ["x"])
    load_dataset(path, ["x"], input_dtypes={"x": np.dtype(np.uint8)})


def test_doubles_are_not_cast(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"astype\(numpy.float32\)"):
        load_dataset(save(tmp_path / "a.npz", x=X.astype(float)), ["x"])


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 4), (1, 3, 2, 1)])
def test_shapes_fit_the_model(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(4, 3, 2\)\n.*\(N, 3"):
        load_dataset(save(tmp_path / "a.npz", x=X), ["x"], input_shapes={"x": shape})


def test_refuses_negative_labels() -> None:
    assert Dataset({"x": X}, Y).labels is Y
    with pytest.raises(InputError, match=r"(?s)labels: .*found: -1.*next: "):
        Dataset({"x": X}, Y - 1)


def test_a_missing_npz_has_a_next_step(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "nope.npz", "No such file"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=rf"(?s)found: {found}.*next: .*numpy\.savez"):
            load_arrays(path)


def test_check_dataset_takes_any_batch() -> None:
    check_dataset({"x": (0, 3, 2)}, Dataset({"x": X}))
    check_dataset({"a": (0, 3, 2), "b": (1, 3, 2)}, Dataset({"b": X, "a": X}))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("y", X, "found: y .missing: x; extra: y.*allowed: x"),
        ("x", X.astype(np.float64), "x: .*found: float64.*allowed: float32"),
        ("x", Y, "x: .*found: int64.*next: state .preprocessing."),
        ("x", X[:, :2], r"x: .*found: \(4, 2, 2\).*allowed: \(N, 3, 2\)"),
        ("x", X[:, 0], r"x: .*found: \(4, 2\).*allowed: \(N, 3, 2\)"),
    ],
)
def test_check_dataset_names_what_differs(name: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        check_dataset({"x": (0, 3, 2)}, Dataset({name: array}))


def test_labels_may_be_sequences_of_ids() -> None:
    ids = np.array([[1, -1], [2, 3], [0, 0], [1, 1]])
    assert [batch.labels is not None for batch in Dataset({"x": X}, ids).batches(2)] == [True] * 2


def test_text_is_left_out_where_it_is_allowed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=X, names=np.array(["cat", "dog"]))
    assert list(load_arrays(path, skip_text=True)) == ["x"]
    with pytest.raises(UnsafeFileError, match="can run code"):
        load_arrays(save(path, x=np.array(["a", None], dtype=object)), skip_text=True)
