"""Repositories of the Hub by name, through huggingface_hub's own code, against a Hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants

import sightword
from sightword.checkpoints.hub import fetch
from sightword.checkpoints.native import load_checkpoint
from sightword.cli import run
from sightword.errors import CheckpointError, RequestError, SightwordError
from tests.checkpoints.fake_hub import FakeHub

Make = Callable[..., tuple[Path, Any]]
TEXTS = ["a photo of a cat", "it's 2021"]
CARD = b"---\nlicense: mit\ntags:\n- vision\n---\n# A model\n"
VIT = {"image_size": 32, "patch_size": 8, "width": 36, "head_width": 12, "layers": 2}


@pytest.fixture(scope="module")
def clip(make_transformers: Make) -> Path:
    return make_transformers()[0]


def refusal(name: str, kind: type[SightwordError] = CheckpointError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        sightword.load(name, device="cpu", **options)
    message = str(caught.value)
    assert message.count("\n") <= 1
    assert name.partition("@")[0] in message
    return message


def test_a_repository_of_transformers(hub: FakeHub, clip: Path) -> None:
    commit = hub.add(
        "openai/clip", clip, README__md=CARD, pytorch_model__bin=b"x", flax_model__msgpack=b"x", tf_model__h5=b"x",
        vocab__json=b"{}", merges__txt=b"",
    )  # fmt: skip
    model = sightword.load("openai/clip", device="cpu")
    assert np.array_equal(model.embed_texts(TEXTS), sightword.load(clip, device="cpu").embed_texts(TEXTS))
    assert model.contract.licence == "mit"
    assert model.contract.provenance["source"] == {
        "repository": "openai/clip", "revision": "main", "commit": commit, "licence": "mit",
    }  # fmt: skip
    # What the family does not read is not downloaded: no second set of weights, no other framework's.
    assert hub.downloaded() == [
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    # The second time, only what has changed would be.
    hub.requests.clear()
    sightword.load("openai/clip", device="cpu")
    assert hub.downloaded() == []


def test_weights_in_shards_and_pickled(hub: FakeHub, make_transformers: Make, tmp_path: Path) -> None:
    sharded, model = make_transformers(max_shard_size="50KB")
    assert not (sharded / "model.safetensors").exists()
    hub.add("org/sharded", sharded, pytorch_model__bin=b"x")
    loaded = sightword.load("org/sharded", device="cpu")
    assert "pytorch_model.bin" not in hub.downloaded()
    assert sum(file.endswith(".safetensors") for file in hub.downloaded()) > 1
    pickled = Path(shutil.copytree(sharded, tmp_path / "pickled", ignore=shutil.ignore_patterns("*.safetensors*")))
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    hub.add("org/pickled", pickled)
    assert np.array_equal(sightword.load("org/pickled", device="cpu").embed_texts(TEXTS), loaded.embed_texts(TEXTS))


def test_a_repository_of_open_clip(hub: FakeHub, make_open_clip: Make, clip: Path) -> None:
    folder = make_open_clip(VIT)[0]
    # As they are on the Hub: the same model for transformers too.
    hub.add("laion/CLIP", folder, config__json=(clip / "config.json").read_bytes(), model__safetensors=b"theirs",
            open_clip_pytorch_model__bin=b"x", pytorch_model__bin=b"x")  # fmt: skip
    model = sightword.load("laion/CLIP", device="cpu")
    assert np.array_equal(model.embed_texts(TEXTS), sightword.load(folder, device="cpu").embed_texts(TEXTS))
    weights = [file for file in hub.downloaded() if file.endswith((".safetensors", ".bin"))]
    assert weights == ["open_clip_model.safetensors"]


def test_a_native_repository_at_a_revision(hub: FakeHub, checkpoint: Path, clip: Path) -> None:
    first = hub.add("org/native", checkpoint)
    hub.add("org/native", clip)
    hub.add("org/native", checkpoint, branch="v1.0")
    native = sightword.load(checkpoint, device="cpu").contract
    for name, revision in ((f"org/native@{first}", None), ("org/native@v1.0", None), ("org/native", "v1.0")):
        contract = sightword.load(name, device="cpu", revision=revision).contract
        assert contract.architecture == native.architecture
    assert sightword.load("org/native", device="cpu").contract.provenance["family"] == "transformers CLIPModel"
    hub.add("legacy", checkpoint)
    assert sightword.load("legacy", device="cpu").contract.architecture == native.architecture
    with pytest.raises(RequestError, match="leave one out"):
        sightword.load("org/native@v1.0", revision="main")


def test_a_folder_comes_before_a_repository(
    hub: FakeHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, "org/name")
    sightword.load("org/name", device="cpu")
    for path in (Path("no/folder"), "./no/folder", "no/such/folder", "/no/folder", "../folder", "~/folder"):
        with pytest.raises(CheckpointError, match="no such checkpoint folder"):
            sightword.load(path)
    with pytest.raises(RequestError, match="is a path"):
        sightword.load("org/name", revision="main")
    assert hub.requests == []


def test_offline_from_the_cache(hub: FakeHub, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("org/name", clip)
    sightword.load("org/name", device="cpu")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("org/name", f"org/name@{commit}"):
        assert sightword.load(name, device="cpu").contract.provenance["source"]["commit"] == commit
    message = refusal("org/other")
    assert "sightword fetch org/other FOLDER" in message
    assert constants.HF_HUB_CACHE in message
    assert "sightword fetch org/name@v2 FOLDER" in refusal("org/name@v2")
    assert hub.requests == []


def test_a_hub_that_is_down_or_away(hub: FakeHub, clip: Path) -> None:
    hub.add("org/name", clip)
    sightword.load("org/name", device="cpu")
    hub.down = True
    sightword.load("org/name", device="cpu")
    assert "sightword fetch org/other FOLDER" in refusal("org/other")
    hub.close()
    sightword.load("org/name", device="cpu")
    assert "cannot be reached" in refusal("org/other")


def test_a_cache_that_holds_a_part(hub: FakeHub, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("org/name", clip)
    sightword.load("org/name", device="cpu")
    (Path(constants.HF_HUB_CACHE) / "models--org--name" / "snapshots" / commit / "model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal("org/name")
    assert "only a part" in message
    assert "sightword fetch org/name FOLDER" in message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    sightword.load("org/name", device="cpu")


def test_what_is_not_there(hub: FakeHub, clip: Path, tmp_path: Path) -> None:
    assert "no such repository" in refusal("org/nothing")
    hub.add("org/name", clip)
    assert "no revision 'v9'" in refusal("org/name@v9")
    assert "no revision 'v9'" in refusal("org/name", revision="v9")
    assert "no name of a repository" in refusal("org/na--me")
    hub.repositories["org/name"].gated = True
    message = refusal("org/name")
    assert "terms" in message
    assert "hf auth login" in message
    other = tmp_path / "blip"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "blip"}))
    hub.add("org/blip", other, model__safetensors=b"x")
    message = refusal("org/blip")
    assert "'blip' is not known here; known are" in message
    hub.add("org/data", other, config__json=b"{")
    assert "not readable as JSON" in refusal("org/data")
    bare = Path(shutil.copytree(clip, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))
    hub.add("org/bare", bare, tf_model__h5=b"x")
    assert "lacks the weights" in refusal("org/bare")
    assert "model.safetensors" not in hub.downloaded()


# fetch


def test_fetch_a_folder_that_needs_nothing_else(
    hub: FakeHub, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.add("org/name", clip, README__md=CARD, LICENSE=b"MIT", tf_model__h5=b"x")
    out = tmp_path / "b32"
    assert run(["fetch", "org/name", str(out), "--json", str(tmp_path / "fetch.json")]) == 0
    assert commit in capsys.readouterr().out
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not any(path.is_symlink() for path in out.iterdir())
    assert {path.name for path in out.iterdir()} == {
        "LICENSE", "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "source.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    model = sightword.load(out, device="cpu")
    assert np.array_equal(model.embed_texts(TEXTS), sightword.load(clip, device="cpu").embed_texts(TEXTS))
    source = model.contract.provenance["source"]
    assert {**source, "fetched": ""} == {
        "repository": "org/name", "revision": "main", "commit": commit, "licence": "mit", "fetched": "",
    }  # fmt: skip
    assert len(source["fetched"]) == 10
    assert model.contract.licence == "mit"
    made = json.loads((tmp_path / "fetch.json").read_text())
    assert (made["model"], made["family"], made["source"]) == (str(out), "transformers", source)
    assert set(made["files"]) == {path.name for path in out.iterdir()}
    # And it says so still in another family's folder that can hold it.
    assert run(["convert", str(out), "--to", "native", str(tmp_path / "native")]) == 0
    contract = load_checkpoint(tmp_path / "native")[1]
    assert (contract.licence, contract.provenance["source"]) == ("mit", source)


def test_fetch_refuses_what_is_there_and_what_is_no_name(hub: FakeHub, clip: Path, tmp_path: Path) -> None:
    hub.add("org/name", clip)
    with pytest.raises(RequestError, match="is there already"):
        fetch("org/name", clip)
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is there already"):
        fetch("org/name", tmp_path / "file")
    with pytest.raises(RequestError, match="no name of a repository"):
        fetch("./folder", tmp_path / "out")
    assert hub.requests == []


def test_fetch_leaves_nothing_that_does_not_load(hub: FakeHub, clip: Path, tmp_path: Path) -> None:
    hub.add("org/name", clip, model__safetensors=(clip / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"^org/name/model\.safetensors: not a whole safetensors file"):
        fetch("org/name", tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_an_interrupted_fetch_goes_on(
    hub: FakeHub, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/name", clip)
    hub.broken = {"model.safetensors"}
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub tries again, with pauses
    with pytest.raises(SightwordError, match="what was fetched so far is kept"):
        fetch("org/name", tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    hub.broken = set()
    hub.requests.clear()
    made = fetch("org/name", tmp_path / "out")
    assert hub.downloaded() == ["model.safetensors"]
    sightword.load(made.folder, device="cpu")


def test_the_command_as_a_process(hub: FakeHub, clip: Path, tmp_path: Path) -> None:
    commit = hub.add("org/name", clip)
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "sightword", "fetch", "org/name@main", str(tmp_path / "out")]
    made = subprocess.run(
        command, env={**os.environ, **environment, "HF_HUB_OFFLINE": "0"}, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    assert json.loads((tmp_path / "out" / "source.json").read_text())["commit"] == commit
    # Every request was for this repository.
    assert all("org/name" in path for _, path in hub.requests)
    again = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr.strip() == f"sightword: {tmp_path / 'out'}: is there already; name a new folder"


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\ntags: [a]\nlicense: 'cc-by-nc-4.0'  # so\n---\n# x", "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: apple-ascl\n---\n", "apple-ascl"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("\n---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: mit\n", "unknown"),
        ("# license: mit\n", "unknown"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("---\n- license\n---\n", "unknown"),
        ("---\nlicense: 3\n---\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_licence_of_a_folder(checkpoint: Path, tmp_path: Path, front: str, licence: str) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "README.md").write_bytes(front.encode())
    assert sightword.load(folder, device="cpu").contract.licence == licence


def test_a_source_that_is_none(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "source.json").write_text('{"repository": "a/b", "revison": "main", "commit": "x"}')
    with pytest.raises(CheckpointError, match=r"source\.json: unknown key 'revison'; did you mean 'revision'"):
        sightword.load(folder, device="cpu")
