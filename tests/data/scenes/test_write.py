"""`sightword data scenes`: what is written is a source like any other, with its truth in it and beside it."""

from __future__ import annotations

import io
import json
import resource
import signal
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightword.cli import run as command
from sightword.data.check import check
from sightword.data.rle import run_lengths
from sightword.data.scenes import Clips, Edits, Scenes, Sprites, texts_of, write_scenes
from sightword.data.shards import list_members
from sightword.data.sources import open_pairs
from sightword.errors import RequestError
from sightword.evaluation.experiment import run_training
from sightword.training.recipe import read_recipe
from tests.training.test_loop import PAGE


def members(folder: Path) -> dict[str, bytes]:
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(scope="module")
def scenes(sprites: Sprites) -> Scenes:
    return Scenes(sprites, count=20, size=64, seed=4)


@pytest.fixture(scope="module")
def written(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "scenes"
    told: list[tuple[int, int | None]] = []
    found = write_scenes(scenes, out, pairs=8, progress=lambda done, of: told.append((done, of)))
    assert (found.shards, found.pictures) == (3, 20)
    assert found.instances == sum(len(scene.things) for scene in scenes)
    assert found.bytes == sum(path.stat().st_size for path in out.glob("*.tar"))
    assert told[-1] == (20, 20)
    return out


def test_the_shards_hold_the_scenes(scenes: Scenes, written: Path) -> None:
    found = members(written)
    for index, scene in enumerate(scenes):
        name = f"{index:09}"
        np.testing.assert_array_equal(pixels(found[f"{name}.png"]), np.asarray(scene.image()))
        np.testing.assert_array_equal(pixels(found[f"{name}.mask.png"]), scene.instances())
        record, texts = json.loads(found[f"{name}.json"]), texts_of(scenes, index)
        assert found[f"{name}.txt"].decode() == texts.short.text == record["texts"]["short"]["text"]
        assert record["texts"]["long"]["text"] == texts.long.text
        assert record["key"] == scene.key
        assert [(thing["name"], tuple(thing["box"])) for thing in record["things"]] == [
            (thing.name, thing.box) for thing in scene.things
        ]
        assert record["absent"] == [*scene.absent]
    assert len(found) == 4 * len(scenes)


def test_they_are_a_source_like_any_other(scenes: Scenes, written: Path) -> None:
    checked = check([str(written)])
    assert (checked.shards, checked.pairs, checked.broken) == (3, 20, [])
    source = open_pairs(str(written))
    assert (len(source), len(source.skipped)) == (20, 0)
    assert [pair.texts[0] for pair in source] == [texts_of(scenes, index).short.text for index in range(20)]
    assert {pair.label for pair in source} == {""}
    listed = [*list_members(written / "00000.tar", "")]  # what `embed` would take
    assert len(listed) == 8
    assert not any(one.reason for one in listed)


def test_a_model_trains_on_them(written: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(PAGE.replace("unused here", str(written)))
    resolved = read_recipe(recipe, ("training.steps=2", "training.batch_size=8"))
    result = run_training(resolved, tmp_path / "run").result
    assert (result.steps, result.skipped) == (2, 0)


def test_runs_of_pixels() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert run_lengths(mask) == {"size": [2, 3], "counts": [2, 3, 1]}
    assert run_lengths(~mask)["counts"] == [0, 2, 3, 1]
    assert run_lengths(np.zeros((2, 3), bool))["counts"] == [6]
    assert run_lengths(np.ones((2, 3), bool))["counts"] == [0, 6]


def test_coco_says_what_the_masks_say(scenes: Scenes, written: Path) -> None:
    coco = json.loads((written / "instances.json").read_text())
    numbers = {category["id"]: category["name"] for category in coco["categories"]}
    assert [*numbers.values()] == sorted({sprite.name for sprite in scenes.sprites})
    assert [image["file_name"] for image in coco["images"]] == [f"{number:09}.png" for number in range(20)]
    for image in coco["images"]:
        with tarfile.open(written / image["shard"]) as tar:
            assert image["file_name"] in tar.getnames()
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in coco["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    for number, scene in enumerate(scenes):
        for place, (annotation, thing) in enumerate(zip(by_image[number], scene.things, strict=True), start=1):
            mask = scene.instances() == place
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == mask.sum()
            assert numbers[annotation["category_id"]] == thing.name


def test_pycocotools_reads_it(scenes: Scenes, written: Path) -> None:
    coco_file = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    coco = coco_file.COCO(str(written / "instances.json"))
    assert len(coco.getImgIds()) == 20
    for number, scene in enumerate(scenes):
        for place, annotation in enumerate(coco.loadAnns(coco.getAnnIds(number)), start=1):
            np.testing.assert_array_equal(coco.annToMask(annotation), scene.instances() == place)
    # What is found where it is has the best mark there is, by boxes and by masks.
    found = [{**one, "score": 1.0} for one in coco.dataset["annotations"]]
    for kind in ("bbox", "segm"):
        results = COCOeval(coco, coco.loadRes(found), kind)
        results.evaluate()
        results.accumulate()
        results.summarize()
        assert results.stats[0] == pytest.approx(1)


def test_the_same_scenes_are_the_same_files(sprites: Sprites, scenes: Scenes, written: Path, tmp_path: Path) -> None:
    again = Scenes(sprites, count=20, size=64, seed=4)
    write_scenes(again, tmp_path / "again", pairs=8)
    for name in ("00000.tar", "00002.tar", "instances.json"):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_one_thing_each_is_a_label(sprites: Sprites, tmp_path: Path) -> None:
    scenes = Scenes(sprites, count=6, size=64, things=(1, 1))
    write_scenes(scenes, tmp_path / "out")
    assert [pair.label for pair in open_pairs(str(tmp_path / "out"))] == [scene.things[0].name for scene in scenes]


def test_edits_on_disk(scenes: Scenes, tmp_path: Path) -> None:
    edits = Edits(Scenes(scenes.sprites, count=5, size=64))
    found = write_scenes(edits, tmp_path / "out")
    assert not check([str(tmp_path / "out")]).broken
    files = members(tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "edits.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    pictures: list[str] = []
    for edit, line in zip(edits, lines, strict=True):
        assert (line["kind"], line["instructions"]) == (edit.kind, [*edit.instructions])
        shown = {line["before"]: edit.before, line["after"]: edit.after}
        for told, one in zip(line["distractors"], edit.distractors, strict=True):
            assert told["why"] == one.why
            shown[told["picture"]] = one.scene
        for name, scene in shown.items():
            np.testing.assert_array_equal(pixels(files[name]), np.asarray(scene.image()))
        pictures += shown
    assert len(set(pictures)) == len(pictures) == found.pictures
    assert len(json.loads((tmp_path / "out" / "instances.json").read_text())["images"]) == found.pictures


def test_clips_on_disk(scenes: Scenes, tmp_path: Path) -> None:
    clips = Clips(Scenes(scenes.sprites, count=4, size=64))
    write_scenes(clips, tmp_path / "out")
    assert not check([str(tmp_path / "out")]).broken
    found = members(tmp_path / "out")
    for number, clip in enumerate(clips):
        record = json.loads(found[f"{number:09}.json"])
        assert found[f"{number:09}.txt"].decode() == clip.caption == record["captions"][0]
        assert record["motion"] == clip.motion
        assert [frame["subject"] for frame in record["frames"]] == [*clip.subjects]
        for told, frame in zip(record["frames"], clip.frames, strict=True):
            for place, thing in enumerate(told["things"], start=1):
                assert thing["mask"] == run_lengths(frame.instances() == place)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"00000.tar", "00000.tar.index.arrow"}


def test_the_command(sprite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["data", "scenes", str(tmp_path / "out"), "--sprites", str(sprite_folder), "--count", "3", "--size", "48"]
    result, sheet = tmp_path / "result.json", tmp_path / "sheet.png"
    assert command([*asked, "--json", str(result), "--sheet", str(sheet), "--split", "validation"]) == 0
    assert "3 pictures in 1 shards" in capfd.readouterr().out
    assert json.loads(result.read_text()).keys() == {
        "out", "kind", "split", "shards", "pictures", "instances", "bytes", "skipped",
    }  # fmt: skip
    with Image.open(sheet) as drawn:
        assert len(drawn.getcolors(1 << 24)) > 20  # type: ignore[arg-type]
    before = (tmp_path / "out" / "00000.tar").read_bytes()
    assert command(asked) == 2
    assert "is there already; name a new folder" in capfd.readouterr().err
    assert (tmp_path / "out" / "00000.tar").read_bytes() == before
    for kind in ("edits", "clips"):
        out = str(tmp_path / kind)
        assert command([*asked[:2], out, *asked[3:], "--kind", kind, "--sheet", str(tmp_path / f"{kind}.png")]) == 0
        assert len(open_pairs(out)) >= 3


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        (["--count", "0"], 2, "0 scenes: ask for 1 at least"),
        (["--size", "16"], 2, "scenes of 16 pixels a side: ask for 32 to"),
        (["--split", "test"], 2, "no split 'test'; there are: train, validation"),
        (["--things", "4", "2"], 2, "from 4 to 2 things"),
        (["--pairs", "0"], 2, "a shard holds at least 1 pair"),
        (["--kind", "films"], 2, ""),
        (["--sprites", "EMPTY"], 2, "has 0 sprites; put transparent pictures there"),
        (["--sprites", "OPAQUE"], 2, "has no transparency"),
        (["--sprites", "NOWHERE"], 2, "no such folder"),
        (["--sheet", "sheet.jpg"], 2, "a contact sheet is a PNG file"),
        (["--sheet", "out/sheet.png"], 2, "shards with pictures beside them are no source"),
    ],
)
def test_wrong_requests(
    changes: list[str],
    code: int,
    told: str,
    sprite_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    Path("OPAQUE").mkdir()
    Image.new("RGB", (40, 40), "red").save("OPAQUE/a.png")
    asked = {"--sprites": [str(sprite_folder)], "--count": ["2"], "--size": ["48"]}
    asked |= {changes[0]: changes[1:]}
    words = [word for option, values in asked.items() for word in (option, *values)]
    assert command(["data", "scenes", "out", *words]) == code
    assert told in " ".join(capfd.readouterr().err.split())
    assert {path.name for path in tmp_path.iterdir()} == {"EMPTY", "OPAQUE"}


def test_where_nothing_can_be_written(sprite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["--sprites", str(sprite_folder), "--count", "30", "--size", "64"]
    (tmp_path / "file").write_text("")
    assert command(["data", "scenes", str(tmp_path / "file" / "out"), *asked]) == 1
    assert "could not be" in capfd.readouterr().err
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        assert command(["data", "scenes", str(tmp_path / "out"), *asked]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "the disk is full" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_taken(scenes: Scenes, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(RequestError, match="is there already"):
        write_scenes(scenes, tmp_path)
