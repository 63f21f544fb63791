"""Archives as their authors publish them: MNIST, CIFAR (binary and Python), STL-10, SVHN, and captions of Karpathy."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from sightword.data.images import open_image
from sightword.data.labelled import Captioned, Labelled
from sightword.data.readers.arrays import Cifar, Idx, Stl10
from sightword.data.readers.base import Reader
from sightword.data.readers.karpathy import Karpathy
from sightword.data.readers.mat import read_mat
from sightword.data.readers.matlab import Flowers, Svhn
from sightword.data.readers.pickled import CifarPython, PickledArrays
from sightword.errors import RequestError
from tests.data.readers.shared import write

RNG = np.random.default_rng(0)


def read(reader: Reader, root: Path, split: Any = "test") -> Labelled:
    data = reader.read(root, split, "own")
    assert isinstance(data, Labelled)
    for image in data.images:
        open_image(image)
    return data


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.mark.parametrize("folder", ["", "raw/"])
def test_mnist(tmp_path: Path, folder: str) -> None:
    pixels, labels = RNG.integers(0, 256, (3, 28, 28), np.uint8), np.array([7, 2, 9], np.uint8)
    write(tmp_path / f"{folder}t10k-images-idx3-ubyte.gz", gzip.compress(idx(pixels)))
    write(tmp_path / f"{folder}t10k-labels-idx1-ubyte", idx(labels))
    assert Idx().splits(tmp_path) == ("test",)
    data = read(Idx(), tmp_path)
    assert data.labels.tolist() == [7, 2, 9]
    assert np.array_equal(np.stack([*data.images]), pixels)
    (tmp_path / f"{folder}t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)[:-1]))
    with pytest.raises(RequestError, match=r"is damaged or cut short: it promises \[3, 28, 28\] and holds 2351 bytes"):
        read(Idx(), tmp_path)
    (tmp_path / f"{folder}t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels))[:-9])
    with pytest.raises(RequestError, match="is damaged or not readable"):
        read(Idx(), tmp_path)
    (tmp_path / f"{folder}t10k-images-idx3-ubyte.gz").write_bytes(idx(labels))
    with pytest.raises(RequestError, match="is no idx file of bytes with 3 axes"):
        read(Idx(), tmp_path)


def cifar(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures [N, 32, 32, 3] and the rows that CIFAR stores."""
    pixels = RNG.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return pixels, pixels.transpose(0, 3, 1, 2).reshape(count, 3072)


def test_cifar_binary(tmp_path: Path) -> None:
    pixels, rows = cifar(2)
    ten, hundred = tmp_path / "cifar-10-batches-bin", tmp_path / "cifar-100-binary"
    write(ten / "test_batch.bin", np.hstack([np.array([[3], [1]], np.uint8), rows]).tobytes())
    write(ten / "batches.meta.txt", "airplane\nautomobile\nbird\ncat\n\n")
    write(hundred / "test.bin", np.hstack([np.array([[0, 2], [1, 0]], np.uint8), rows]).tobytes())
    write(hundred / "fine_label_names.txt", "apple\naquarium_fish\nbaby\n")
    assert Cifar(classes=10).splits(tmp_path) == ("test",)
    data = read(Cifar(classes=10), tmp_path)
    assert (data.labels.tolist(), data.classes[3]) == ([3, 1], "cat")
    assert np.array_equal(np.stack([*data.images]), pixels)
    fine = read(Cifar(classes=100), tmp_path)
    assert (fine.labels.tolist(), fine.classes) == ([2, 0], ("apple", "aquarium fish", "baby"))
    write(ten / "data_batch_1.bin", rows.tobytes())
    assert Cifar(classes=10).splits(tmp_path) == ("test",)  # one batch of five is no split
    (ten / "test_batch.bin").write_bytes(rows.tobytes())
    with pytest.raises(RequestError, match="6,144 bytes are no whole records of 3,073"):
        read(Cifar(classes=10), tmp_path)


def python2(rows: NDArray[np.uint8], labels: list[int]) -> bytes:
    """A batch as the Python 2 of CIFAR's author pickled it: texts without a kind, arrays by latin-1."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    kind = b"cnumpy\ndtype\nq\x05" + text(b"u1") + b"K\x00K\x01\x87q\x06Rq\x07(K\x03" + text(b"|") + b"NNN"
    kind += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85" + text(b"b") + b"\x87Rq\x04("
    array += b"K\x01" + number(len(rows)) + number(3072) + b"\x86" + kind + b"\x89" + text(rows.tobytes()) + b"tb"
    listed = b"]q\x08(" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}q\x01(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.mark.parametrize("by", ["python 2", "python 3", "protocol 4"])
def test_cifar_python_is_read_as_data(tmp_path: Path, by: str) -> None:
    pixels, rows = cifar(2)
    folder = tmp_path / "cifar-10-batches-py"
    record = {b"data": rows, b"labels": [3, 1], b"batch_label": b"testing batch 1 of 1"}
    batch = python2(rows, [3, 1]) if by == "python 2" else pickle.dumps(record, 4 if by == "protocol 4" else 2)
    write(folder / "test_batch", batch)
    write(folder / "batches.meta", pickle.dumps({"label_names": ["airplane", "automobile", "bird", "cat"]}, 2))
    data = read(CifarPython(classes=10), tmp_path)
    assert (data.labels.tolist(), data.classes[3]) == ([3, 1], "cat")
    assert np.array_equal(np.stack([*data.images]), pixels)


class Evil:
    def __reduce__(self) -> Any:
        return open, ("/nonexistent/evil", "w")


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write(folder / "batches.meta", pickle.dumps({"label_names": ["a", "b"]}, 2))
    write(folder / "test_batch", pickle.dumps({"data": Evil()}, protocol))
    with pytest.raises(RequestError, match=r"is no pickle of plain arrays \(it names _?io\.open\)"):
        CifarPython(classes=10).read(tmp_path, "test", "own")
    write(folder / "test_batch", pickle.dumps({"data": np.zeros((1, 3072), np.uint8)}, 2)[:-40])
    with pytest.raises(RequestError, match="is no pickle of plain arrays"):
        CifarPython(classes=10).read(tmp_path, "test", "own")
    write(folder / "test_batch", pickle.dumps({"data": np.zeros((1, 3072), "O")}, 2))
    with pytest.raises(RequestError, match="is of a type that no picture has"):
        CifarPython(classes=10).read(tmp_path, "test", "own")


def test_arrays_in_pickles_of_their_own(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, 5, 5), np.uint8)
    write(tmp_path / "x.gz", gzip.compress(pickle.dumps(np.asfortranarray(pixels), 4)))
    write(tmp_path / "y.gz", gzip.compress(pickle.dumps(np.array([1, 0, 1]), 4)))
    data = read(PickledArrays(images="x.gz", labels="y.gz", names=("bear", "bird")), tmp_path)
    assert (data.classes, data.labels.tolist()) == (("bear", "bird"), [1, 0, 1])
    assert np.array_equal(np.stack([*data.images]), pixels)
    with pytest.raises(RequestError, match=r"y\.gz: holds no array with 3 axes"):
        read(PickledArrays(images="y.gz", labels="y.gz", names=("bear", "bird")), tmp_path)


def test_stl10(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (2, 96, 96, 3), np.uint8)
    folder = tmp_path / "stl10_binary"
    write(folder / "test_X.bin", pixels.transpose(0, 3, 2, 1).tobytes())
    write(folder / "test_y.bin", bytes([10, 1]))
    write(folder / "class_names.txt", "\n".join(f"class{number}" for number in range(10)))
    data = read(Stl10(), tmp_path)
    assert data.labels.tolist() == [9, 0]
    assert np.array_equal(np.stack([*data.images]), pixels)


@pytest.mark.parametrize("compressed", [True, False])
def test_svhn(tmp_path: Path, compressed: bool) -> None:
    pixels = RNG.integers(0, 256, (32, 32, 3, 4), np.uint8)
    labels = np.array([[10], [1], [9], [10]], np.uint8)
    file = tmp_path / "test_32x32.mat"
    more = {"note": "text", "cells": np.array([1, "a"], object), "part": {"of": 1.5}, "wide": np.eye(3)}
    scipy.io.savemat(file, {"X": pixels, "y": labels, **more}, do_compression=compressed)
    data = read(Svhn(), tmp_path)
    assert data.labels.tolist() == [0, 1, 9, 0]
    assert np.array_equal(np.stack([*data.images]), pixels.transpose(3, 0, 1, 2))
    found = read_mat(file)
    assert found.keys() == {"X", "y", "wide", *more}
    assert np.array_equal(found["wide"], np.eye(3))
    assert (found["note"], found["cells"], found["part"]) == ("text", [1, "a"], [{"of": 1.5}])
    whole = file.read_bytes()
    for cut in (100, 140, 300, len(whole) // 2, len(whole) - 5):
        file.write_bytes(whole[:cut])
        with pytest.raises(RequestError, match=r"cut short|no MATLAB file|has no pictures"):
            read(Svhn(), tmp_path)


def test_flowers(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[3, 1, 2, 1]], np.uint8)})
    sets = {"trnid": [[2]], "valid": [[1]], "tstid": [[4, 3]]}
    scipy.io.savemat(tmp_path / "setid.mat", {name: np.array(numbers, np.uint16) for name, numbers in sets.items()})
    assert Flowers().splits(tmp_path) == ()
    (tmp_path / "jpg").mkdir()
    assert Flowers().splits(tmp_path) == ("train", "validation", "test")
    data = Flowers().read(tmp_path, "test", "flowers")
    assert (data.labels.tolist(), data.classes) == ([0, 1], ("0", "1", "2"))
    assert list(data.images) == [str(tmp_path / "jpg" / name) for name in ("image_00004.jpg", "image_00003.jpg")]
    write(tmp_path / "classnames.txt", "pink primrose\nhard-leaved pocket orchid\ncanterbury bells\n")
    assert Flowers().read(tmp_path, "train", "flowers").classes[0] == "pink primrose"
    scipy.io.savemat(tmp_path / "setid.mat", {"tstid": np.array([[5]])})
    with pytest.raises(RequestError, match=r"names picture 5, and 4 have labels"):
        Flowers().read(tmp_path, "test", "flowers")
    with pytest.raises(RequestError, match="has no array 'trnid'"):
        Flowers().read(tmp_path, "train", "flowers")


def test_karpathys_captions(tmp_path: Path) -> None:
    def entry(name: str, split: str, texts: list[str], folder: str = "") -> dict[str, Any]:
        told: dict[str, Any] = {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        return {**told, "filepath": folder} if folder else told

    images = [
        entry("1.jpg", "test", ["a dog .", "a brown dog ."], "val2014"),
        entry("2.jpg", "restval", ["a cat"], "val2014"),
        entry("3.jpg", "test", [f"caption {number}" for number in range(7)], "val2014"),
    ]
    write(tmp_path / "dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    reader = Karpathy(file="dataset_coco.json", pictures=".")
    assert reader.splits(tmp_path) == ("train", "validation", "test")
    data = reader.read(tmp_path, "test", "coco")
    assert isinstance(data, Captioned)
    assert list(data.keys) == ["val2014/1.jpg", "val2014/3.jpg"]
    assert data.image_of_text.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert list(data.texts[:3]) == ["a dog .", "a brown dog .", "caption 0"]
    assert reader.read(tmp_path, "train", "coco").texts == ["a cat"]
    with pytest.raises(RequestError, match="holds 0 pictures and 0 captions"):
        reader.read(tmp_path, "validation", "coco")
    write(tmp_path / "dataset_coco.json", json.dumps({"images": [{"filename": "1.jpg"}]}))
    with pytest.raises(RequestError, match=r"is no file of Karpathy's splits \(KeyError: 'split'\)"):
        reader.read(tmp_path, "test", "coco")
