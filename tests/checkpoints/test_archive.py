"""Archives of torch.save and torch.jit.save: the tensors that torch reads, and nothing that lies about them."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sightword.checkpoints.archive import read_archive
from sightword.checkpoints.weights import read_pickled
from sightword.errors import CheckpointError


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return [*one] == [*other] and all(
        torch.equal(tensor, other[name]) and tensor.dtype == other[name].dtype for name, tensor in one.items()
    )


def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    whole = torch.randn(6, 4)
    kinds = (
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.bool,
    )
    tensors = {
        "views": whole[1:4],
        "turned": whole.T,
        "strided": whole[::2, 1::2],
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": nn.Parameter(torch.randn(3)),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        **{str(dtype): torch.ones(3).to(dtype) for dtype in kinds},
    }
    for value in (tensors, OrderedDict(tensors), {"state_dict": tensors, "epoch": 3, "loss": [1.5, None, (True,)]}):
        torch.save(value, tmp_path / "a.bin")
        assert equal(read_archive(tmp_path / "a.bin"), {name: tensor.detach() for name, tensor in tensors.items()})
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    torch.save(module.state_dict(), tmp_path / "b.bin")
    assert equal(read_archive(tmp_path / "b.bin"), module.state_dict())
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "c.bin")
    assert [*read_pickled(tmp_path / "c.bin")] == [*tensors]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modules_of_torchscript_are_their_tensors(tmp_path: Path) -> None:
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(1, 2, 3), nn.BatchNorm1d(4))
            self.sizes = [1, 2]
            self.name, self.rate, self.flag = "a name", 0.5, True
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("count", torch.tensor(7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale * self.rate + len(self.sizes)

    module = Scripted()
    torch.jit.save(torch.jit.script(module), tmp_path / "a.pt")
    found = read_archive(tmp_path / "a.pt")
    assert equal({name: found[name] for name in module.state_dict()}, dict(module.state_dict()))


# Lies. `lie` writes an archive whose pickle says something else than its entries.


class Storage:
    def __init__(self, numel: Any, key: str = "0", kind: Any = torch.FloatStorage) -> None:
        self.told = ("storage", kind, key, "cpu", numel)


class Lie:
    def __init__(self, storage: Storage, size: tuple[int, ...], stride: tuple[int, ...], offset: Any = 0) -> None:
        self.arguments = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return (torch._utils._rebuild_tensor_v2, self.arguments)


def lie(path: Path, value: Any, numbers: bytes = bytes(32), more: int = 0) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            return item.told if isinstance(item, Storage) else None

    data = io.BytesIO()
    Pickler(data, protocol=2).dump(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data.getvalue())
        archive.writestr("a/data/0", numbers)
        archive.writestr("a/byteorder", b"little")
        archive.writestr("a/more", bytes(more))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError, match=r"not a file of tensors alone") as caught:
        read_pickled(path)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_the_writer_of_lies_can_tell_the_truth(tmp_path: Path) -> None:
    lie(tmp_path / "a.bin", {"a": Lie(Storage(8), (2, 4), (4, 1))})
    assert torch.equal(read_pickled(tmp_path / "a.bin")["a"], torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("lied", "reason"),
    [
        (Lie(Storage(10**12), (10**6, 10**6), (10**6, 1)), "promises 1000000000000 numbers, and its entry holds 32"),
        (Lie(Storage(9), (9,), (1,)), "promises 9 numbers"),
        (Lie(Storage(7), (7,), (1,)), "promises 7 numbers"),
        (Lie(Storage(8), (9,), (1,)), "does not fit"),
        (Lie(Storage(8), (4,), (4,)), "does not fit"),
        (Lie(Storage(8), (4,), (1,), 5), "does not fit"),
        (Lie(Storage(8), (10**6, 10**6), (0, 0)), "does not fit"),
        (Lie(Storage(8), (4,), (-1,), 4), "impossible shape"),
        (Lie(Storage(8), (4,), (1,), -1), "impossible shape"),
        (Lie(Storage(8), (4, 2), (1,)), "impossible shape"),
        (Lie(Storage(8), ("4",), (1,)), "impossible shape"),  # type: ignore[arg-type]
        (Lie(Storage(8), (1,), (10**40,)), "impossible shape"),
        (Lie(Storage(8), (0, 10**40), (1, 1)), "impossible shape"),
        (Lie(Storage(8, "9"), (8,), (1,)), "it has no a/data/9"),
        (Lie(Storage(8, "../more"), (8,), (1,)), "it has no a/data/../more"),
        (Lie(Storage("8"), (8,), (1,)), "not described as torch does"),
        (Lie(Storage(8, kind=torch.device), (8,), (1,)), "damaged"),
        (Lie(Storage(8, kind=print), (8,), (1,)), "print"),
    ],
)
def test_tensors_that_are_not_there(tmp_path: Path, lied: Lie, reason: str) -> None:
    lie(tmp_path / "a.bin", {"a": lied})
    assert reason in refusal(tmp_path / "a.bin")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1], "holds no state dict"),
        ({"a": 1}, "holds no state dict"),
        ({"a": print}, "it names __builtin__.print"),
        ({"a": complex(1, 2)}, "it names __builtin__.complex"),
        ({"a": Path("x")}, "it names pathlib"),
    ],
)
def test_what_is_no_tensor(tmp_path: Path, value: Any, reason: str) -> None:
    lie(tmp_path / "a.bin", value)
    assert reason in refusal(tmp_path / "a.bin")


def test_pickles_that_no_writer_makes(tmp_path: Path) -> None:
    loop = b"c__torch__\nA\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."
    for content, reason in [
        (b"", "pickle"),
        (b".", "damaged"),
        (b"\x80\x02}", "pickle"),
        (b"\x80\x02}q\x00X\xff\xff\xff\x7fab", "expected"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02}]]s.", "damaged"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "it names os.system"),
        (b"\x80\x02ctorch\nload\n.", "it names torch.load"),
        (b"\x80\x02ctorch\nfloat16\n)R.", "it calls torch.float16"),
        (b"\x80\x02ctorch\nFloatStorage\n)\x81.", "it makes an object of torch.FloatStorage"),
        (b"\x80\x02c__torch__\nA\n)R.", "it calls __torch__.A"),
        (b"\x80\x02(i__main__\nA\n.", "it uses INST"),
        (b"\x80\x02\x82\x01.", "it uses EXT1"),
        (loop, "nested too deep"),
    ]:
        with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
            archive.writestr("a/data.pkl", content)
        assert reason in refusal(tmp_path / "a.bin"), content


def test_entries_that_overlap_give_no_more_than_the_file_holds(tmp_path: Path) -> None:
    tensors = {str(n): Lie(Storage(8, str(n)), (8,), (1,)) for n in range(200)}
    lie(tmp_path / "a.bin", tensors)
    with zipfile.ZipFile(tmp_path / "a.bin", "a") as archive:
        for n in range(1, 200):
            entry = zipfile.ZipInfo(f"a/data/{n}")
            first = archive.getinfo("a/data/0")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = 32
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    refusal(tmp_path / "a.bin")


def test_a_big_endian_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("a/byteorder", b"big")
    assert "big-endian" in refusal(tmp_path / "a.bin")
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("nothing", b"")
    assert "has no data.pkl" in refusal(tmp_path / "a.bin")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed_in_a_pickle_it_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    torch.save({"a": torch.ones(3), "b": {"c": 1}}, tmp_path / "whole.bin")
    with zipfile.ZipFile(tmp_path / "whole.bin") as archive:
        content = bytearray(archive.read("whole/data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", bytes(content))
        archive.writestr("a/data/0", torch.ones(3).numpy().tobytes())
    with contextlib.suppress(CheckpointError):
        read_pickled(tmp_path / "a.bin")
