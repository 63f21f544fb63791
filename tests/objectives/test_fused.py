"""The Triton kernels of the losses without a GPU: which vectors take them, what happens where they fail, their numbers
in Triton's interpreter, and whether they compile for the GPUs they are meant for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sightword.errors import SightwordWarning
from sightword.objectives import InfoNCE, Sigmoid, fused

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with a GPU, as far as the choice looks."""
    machine: dict[str, Any] = {"capability": (8, 0), "triton": True}
    monkeypatch.delenv(fused.SWITCH, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: machine["capability"])
    monkeypatch.setattr(fused, "find_spec", lambda name: object() if machine["triton"] else None)
    return machine


def test_ampere_and_later_take_the_kernels(gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused.suits(CUDA)
    assert not fused.suits(torch.device("cpu"))
    gpu["capability"] = (7, 5)
    assert not fused.suits(CUDA)
    gpu.update(capability=(9, 0), triton=False)
    assert not fused.suits(CUDA)
    gpu["triton"] = True
    monkeypatch.setenv("SIGHTWORD_TRITON", "0")
    assert not fused.suits(CUDA)


def test_bfloat16_is_asked_for_by_the_vectors_or_by_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    half, single, double = (torch.zeros(2, 3, dtype=kind) for kind in (torch.bfloat16, torch.float32, torch.float64))
    assert not fused.asked(half, half)  # not on a CPU
    monkeypatch.setattr(fused, "suits", lambda device: True)
    assert fused.asked(half, half)
    assert not fused.asked(half, single)
    assert not fused.asked(half, half, single)
    assert not fused.asked(single, single)
    with torch.autocast("cpu", torch.bfloat16):
        assert fused.asked(single, single)
        assert fused.asked(half, single)
        assert not fused.asked(double, double)
    with torch.autocast("cpu", torch.float16):
        assert not fused.asked(single, single)


@pytest.fixture
def _tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fused, "suits", lambda device: True)
    fused.works.cache_clear()
    yield
    fused.works.cache_clear()


def _raise(*given: object) -> Any:
    raise RuntimeError("out of resource: shared memory\nRequired: 200000")


@pytest.mark.usefixtures("_tried")
@pytest.mark.parametrize(
    ("broken", "as_", "said"),
    [
        ("_kernels", _raise, "RuntimeError: out of resource: shared memory"),
        ("_apart", lambda *given: 0.5, "they differ from float64 by 5.0e-01"),
        ("_apart", lambda *given: float("inf"), "they differ from float64 by inf"),
    ],
    ids=["launch", "wrong", "not finite"],
)
def test_kernels_that_fail_leave_the_work_to_plain_torch_with_one_warning(
    broken: str, as_: Any, said: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(fused, broken, as_)
    image, text = (F.normalize(torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1)), dim=2)).unbind()
    expected = InfoNCE()(image, text, 20.0), Sigmoid()(image, text, 20.0, -3.0)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(SightwordWarning, match="Triton kernels are not used on cpu") as told:
            first = InfoNCE()(image, text, 20.0)
        second = Sigmoid()(image, text, 20.0, -3.0)  # a second warning would be an error here
    assert said in str(told[0].message)
    assert "SIGHTWORD_TRITON=0" in str(told[0].message)
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    """In a process of its own: Triton looks for the variable when it is imported."""
    script = Path(__file__).parent / "interpreted.py"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


@needs_triton
def test_the_kernels_give_what_float64_and_plain_torch_give(interpreted: dict[str, Any]) -> None:
    assert max(interpreted.pop("trial")) < 1e-5
    assert interpreted.pop("bfloat16") < 2**-8  # gradients that are rounded once
    assert len(interpreted) == 11
    for name, found in interpreted.items():
        assert found["float64"] <= 1e-5, (name, found)
        assert found["plain"] <= 1e-5, (name, found)
        # The gradient of the scale is one sum in which much cancels: no way of float32 has it to five digits.
        assert found["numbers"] <= 2e-5 + 2 * found["plain numbers"], (name, found)


# By the name of a parameter; what is not here is a float32 tensor.
_TYPES = dict.fromkeys(("vectors", "vectors_R", "vectors_C"), "*bf16")
_TYPES |= dict.fromkeys(("labels_R", "labels_C"), "*i64") | {"kept": "fp32"}
_TYPES |= dict.fromkeys(("R", "C", "N", "OWN", "D", "stride_R", "stride_C"), "i32")


@needs_triton
@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("softmax_sums", {"M": 1}),
        ("softmax_gradient", {"M": 1}),
        ("sigmoid", {"M": 1, "WANTED": True}),
        ("add_product", {"stride_C": 1}),
    ],
)
def test_the_kernels_compile_for_ampere_and_hopper(name: str, constants: dict[str, Any], arch: int) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sightword.objectives import kernels

    kernel = getattr(kernels, name)
    block = dict(fused.PRODUCT if name == "add_product" else fused.LABELLED)
    options = {key: block.pop(key) for key in ("num_warps", "num_stages")}
    constants = constants | block
    signature = {key: "constexpr" if key in constants else _TYPES.get(key, "*fp32") for key in kernel.arg_names}
    aligned = [key for key, kind in signature.items() if kind.startswith("*") or key == "D"]
    places = {key: (place,) for place, key in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        signature,
        {places[key]: value for key, value in constants.items()},
        {places[key]: [["tt.divisibility", 16]] for key in aligned},
    )
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    assert ("wgmma" if arch == 90 else "mma.sync") in made.asm["ptx"]  # tensor cores
    assert made.metadata.shared <= 99 * 1024  # of the GPUs between the two
    assert made.asm["cubin"]
