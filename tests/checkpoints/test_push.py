"""Models go to the Hub through huggingface_hub's own code, and come back the same."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants

import sightword
from sightword.checkpoints.contract import Contract, read_contract
from sightword.checkpoints.native import save_checkpoint
from sightword.checkpoints.source import GENERATED
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError, SightwordError
from sightword.evaluation.card import model_card
from sightword.evaluation.rows import share_row
from sightword.model import Model
from sightword.towers.dual import DualEncoder
from sightword.training.recipe import Recipe
from tests.checkpoints.fake_hub import FakeHub, Repository
from tests.training.test_loop import PAGE

Make = Callable[..., tuple[Path, Any]]
TEXTS = ["a red circle", "café!"]
NATIVE = {".gitattributes", "README.md", "contract.json", "model.safetensors", "tokenizer.json"}


@pytest.fixture
def trained(encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A model's folder as a run leaves it, with its metrics beside it."""
    recipe = Recipe.model_validate(tomllib.loads(PAGE)).model_dump(mode="json")
    provenance = {"recipe": recipe, "pairs": 8107, "versions": {"torch": "2.13.0"}}
    told = contract.model_copy(update={"provenance": provenance, "licence": "cc-by-4.0"})
    save_checkpoint(tmp_path / "run" / "model", encoder, told, tokenizer)
    rows = [share_row("unseen names", "unseen", "plain", "top1", 524, 1341, 200).to_json()]
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"results": rows, "seed": 7}))
    return tmp_path / "run" / "model"


def files(hub: FakeHub, name: str, revision: str = "main") -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.refs[revision]]


def test_a_folder_with_its_record(hub: FakeHub, trained: Path) -> None:
    (trained / "notes.txt").write_text("mine alone")
    address = sightword.push(trained, "me/model", private=True)
    repository = hub.repositories["me/model"]
    assert address == f"{hub.address}/me/model/commit/{repository.refs['main']}"
    assert repository.private
    assert set(files(hub, "me/model")) == NATIVE
    # The weights went the way of large files.
    assert files(hub, "me/model")["model.safetensors"] in hub.large.values()
    one, other = sightword.load(trained, device="cpu"), sightword.load("me/model", device="cpu")
    assert np.array_equal(one.embed_texts(TEXTS), other.embed_texts(TEXTS))

    card = ModelCard(files(hub, "me/model")["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "sightword"
    for said in (
        'sightword.load("me/model")',
        "sightword convert me/model --to open_clip FOLDER",
        "sightword convert me/model --to transformers FOLDER",
        "| unseen names | unseen | plain | top1 | 39.1 (36.5–41.7) | 1,341 | 200 |",
        '"seed": 7',
        "| pairs | 8107 |",
        "| versions | torch 2.13.0 |",
        "[training]",
    ):
        assert said in card.text, said
    parameters = sum(parameter.numel() for parameter in one.model.parameters())
    assert f"| parameters | {parameters:,} |" in card.text


def test_a_card_that_a_run_left_is_written_again_and_one_that_was_taken_over_stays(hub: FakeHub, trained: Path) -> None:
    told = read_contract(trained / "contract.json")
    (trained / "README.md").write_text(model_card("runs/mine/model", told, "native", 1))
    sightword.push(trained, "me/model")
    card = files(hub, "me/model")["README.md"].decode()
    assert 'sightword.load("me/model")' in card
    assert "| unseen names |" in card
    mine = card.replace(GENERATED, "My own words.")
    (trained / "README.md").write_text(mine)
    sightword.push(trained, "me/model")
    assert files(hub, "me/model")["README.md"].decode() == mine


def test_a_loaded_model_on_a_branch(hub: FakeHub, model: Model) -> None:
    model.push("me/model", revision="v2")
    assert set(files(hub, "me/model", "v2")) == NATIVE
    assert set(files(hub, "me/model")) == {".gitattributes"}
    card = files(hub, "me/model", "v2")["README.md"].decode()
    # What is not known is not said.
    assert "license:" not in card
    assert "## Results" not in card
    assert "## Where it comes from" not in card
    loaded = sightword.load("me/model@v2", device="cpu")
    assert np.array_equal(model.embed_texts(TEXTS), loaded.embed_texts(TEXTS))
    half = sightword.load("me/model@v2", device="cpu")
    half.model.to(torch.bfloat16)
    with pytest.raises(RequestError, match="float32"):
        sightword.push(half, "me/model")


def test_of_another_family_and_over_another_model(hub: FakeHub, make_transformers: Make, trained: Path) -> None:
    sightword.push(trained, "me/model")
    clip, _ = make_transformers(vision_act="gelu")
    (clip / "README.md").write_text("---\nlicense: mit\n---\nby its authors")
    sightword.push(clip, "me/model")
    # What was there of the other model is gone, and what the authors wrote stays.
    assert set(files(hub, "me/model")) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert files(hub, "me/model")["README.md"].endswith(b"by its authors")
    (clip / "README.md").unlink()
    sightword.push(clip, "me/other")
    card = ModelCard(files(hub, "me/other")["README.md"].decode())
    assert card.data.library_name == "transformers"
    assert 'transformers.AutoModel.from_pretrained("me/other")' in card.text
    assert "--to open_clip" in card.text
    assert "--to transformers" not in card.text


def test_a_model_that_fits_nowhere_else(hub: FakeHub, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RequestError("this model cannot be written so")

    monkeypatch.setattr("sightword.checkpoints.convert.convert", refuse)
    sightword.push(trained, "me/model")
    assert "sightword convert" not in files(hub, "me/model")["README.md"].decode()


def test_what_is_refused(hub: FakeHub, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="does not let you write there \\(403\\)"):
        sightword.push(trained, "others/model")
    public = Repository()
    public.commit({})
    hub.repositories["me/public"] = public
    with pytest.raises(RequestError, match="is public, and was to be private"):
        sightword.push(trained, "me/public", private=True)
    assert files(hub, "me/public") == {}
    with pytest.raises(RequestError, match="no name of a repository"):
        sightword.push(trained, "me/a--b")
    with pytest.raises(RequestError, match=r"x\.json: holds no result rows"):
        sightword.push(trained, "me/model", results=tmp_path / "x.json")
    with pytest.raises(RequestError, match="no such checkpoint folder"):
        sightword.push(trained / "model.safetensors", "me/model")
    damaged = Path(shutil.copytree(trained, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"")
    hub.requests.clear()
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        sightword.push(damaged, "me/model")
    assert hub.requests == []
    hub.down = True
    with pytest.raises(SightwordError, match="not pushed: "):
        sightword.push(trained, "me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SightwordError, match="not pushed"):
        sightword.push(trained, "me/model")


def test_a_card_that_the_hub_refuses(hub: FakeHub, trained: Path) -> None:
    hub.card_errors = ['"license" must be one of …']
    with pytest.raises(RequestError, match=r'not pushed: .*"license" must be one of'):
        sightword.push(trained, "me/model")
    assert set(files(hub, "me/model")) == {".gitattributes"}
