"""The command as a user runs it: a process, its output, its exit code."""

import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightword.cli import VERBS, app
from sightword.cli import run as command
from sightword.training.snapshots import Snapshots
from tests.training.conftest import COLOURS, draw
from tests.training.test_loop import PAGE

OPTIONS = {
    "classify": {"--device", "--json", "--labels", "--model", "--precision", "--templates", "--top"},
    "convert": {"--json", "--model", "--out", "--to"},
    "data check": {"--json"},
    "data negate": {
        "--against",
        "--captions",
        "--held-out",
        "--json",
        "--objects",
        "--out",
        "--pictures",
        "--seed",
    },
    "data pack": {"--json", "--megabytes", "--out", "--pairs", "--source"},
    "data scenes": {
        "--count",
        "--json",
        "--kind",
        "--megabytes",
        "--out",
        "--pairs",
        "--seed",
        "--sheet",
        "--size",
        "--split",
        "--sprites",
        "--styles",
        "--things",
    },
    "detect": {
        "--background",
        "--device",
        "--json",
        "--labels",
        "--min-area",
        "--model",
        "--out",
        "--precision",
        "--refine",
        "--rule",
        "--short",
        "--step",
        "--templates",
        "--threshold",
    },
    "export": {"--json", "--model", "--out", "--text-length", "--to"},
    "embed": {
        "--batch-size",
        "--device",
        "--image-column",
        "--json",
        "--key-column",
        "--model",
        "--out",
        "--part-size",
        "--precision",
        "--ray",
        "--workers",
    },
    "evaluate": {
        "--compare",
        "--data",
        "--device",
        "--json",
        "--out",
        "--precision",
        "--probe",
        "--prompts",
        "--report",
        "--seed",
        "--suite",
        "--task",
    },
    "fetch": {"--json", "--name", "--out", "--revision"},
    "quickstart": {"--device", "--json", "--out", "--recipe", "--seed", "--set", "--started"},
    "segment": {
        "--device",
        "--json",
        "--labels",
        "--model",
        "--out",
        "--overlay",
        "--precision",
        "--refine",
        "--rule",
        "--short",
        "--step",
        "--templates",
        "--threshold",
    },
    "train": {"--device", "--json", "--out", "--recipe", "--seed", "--set"},
}


def sightword(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightword", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for colour in COLOURS:
        for seed in range(4):
            draw(colour, "disc", seed).save(folder / f"{colour}-{seed}.png")
            (folder / f"{colour}-{seed}.txt").write_text(f"a {colour} disc")
    return folder


@pytest.fixture(scope="module")
def recipe(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "discs.toml"
    path.write_text(PAGE.replace("unused here", str(pairs)).replace("validation = 0.0", "validation = 0.3"))
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command, with its JSON beside it."""
    out = tmp_path_factory.mktemp("runs") / "discs"
    made = sightword("train", recipe, "--out", out, "--json", out.parent / "train.json", "--set", "training.steps=40")
    assert made.returncode == 0, made.stderr
    assert str(out / "model") in made.stdout.replace("\n", "")
    return out


def test_the_list_of_options_grows_only_on_purpose():
    assert set(VERBS) == set(OPTIONS)
    for verb, expected in OPTIONS.items():
        called = functools.reduce(lambda group, name: group[name], verb.split(), app)
        names = {
            name
            for argument in called.assemble_argument_collection()
            for name in argument.names
            if name.startswith("--") and argument.parameter.name
        }
        assert names == expected, verb


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_verb_helps_with_an_example(verb: str):
    shown = sightword(*verb.split(), "--help")
    assert shown.returncode == 0
    assert f"Example: sightword {verb}" in shown.stdout


def test_help_and_import_load_no_torch():
    code = "import sys, sightword; from sightword.cli import run; run(['--help']); run(['train', '--help']); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_version():
    assert sightword("--version").stdout.strip() == "0.1.0"


def test_train_leaves_a_whole_run(run: Path):
    assert {path.name for path in run.iterdir()} == {".lock", "recipe.toml", "log.jsonl", "snapshots", "model"}
    values = json.loads((run.parent / "train.json").read_text())
    assert set(values) == {"model", "steps", "skipped", "minutes"}
    assert values["steps"] == 40
    contract = json.loads((run / "model" / "contract.json").read_text())
    assert contract["provenance"]["recipe"]["training"]["steps"] == 40


def test_the_same_command_goes_on_or_says_that_it_is_finished(run: Path, recipe: Path):
    again = sightword("train", recipe, "--out", run, "--set", "training.steps=40")
    assert again.returncode == 0
    assert "finished" in again.stdout


def test_a_killed_run_leaves_a_readable_snapshot_and_goes_on(recipe: Path, tmp_path: Path):
    arguments = ["train", recipe, "--out", tmp_path / "run", "--set", "training.steps=4000", "training.every=5"]
    process = subprocess.Popen([sys.executable, "-m", "sightword", *map(str, arguments)])
    snapshots = tmp_path / "run" / "snapshots"
    try:
        for _ in range(3000):
            if any(snapshots.glob("step-*.pt")) or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    state, _ = Snapshots(snapshots, 2).newest()
    assert state is not None
    assert state["step"] % 5 == 0
    assert not (tmp_path / "run" / "model").exists()
    # The rest would take long: what matters is that the same command takes the folder up again, at the snapshot.
    refused = sightword(*arguments, "training.lr=1", "--device", "cpu")
    assert refused.returncode == 2
    assert "training.lr" in refused.stderr


def test_train_refuses_an_unknown_key(recipe: Path, tmp_path: Path):
    refused = sightword("train", recipe, "--out", tmp_path / "run", "--set", "training.step=3")
    assert refused.returncode == 2
    assert "training.step" in refused.stderr
    assert "'steps'" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_classify_files_and_folders(run: Path, tmp_path: Path):
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    draw("red", "disc", 50).save(tmp_path / "photos" / "r.png")
    draw("blue", "disc", 51).save(tmp_path / "photos" / "inner" / "b.jpg")
    draw("green", "disc", 52).save(tmp_path / "g.webp")
    labels = ["a red disc", "a green disc", "a blue disc"]
    made = sightword(
        "classify",
        tmp_path / "photos",
        tmp_path / "g.webp",
        "--labels",
        *labels,
        "--model",
        run / "model",
        "--json",
        tmp_path / "scores.json",
    )
    assert made.returncode == 0, made.stderr
    assert "softmax" in made.stdout
    values = json.loads((tmp_path / "scores.json").read_text())
    assert set(values) == {"images", "labels", "precision", "scores", "skipped"}
    assert values["precision"] == "fp32"
    assert values["labels"] == labels
    assert [Path(row["image"]).name for row in values["images"]] == ["b.jpg", "r.png", "g.webp"]
    for row in values["images"]:
        assert sum(entry["score"] for entry in row["top"]) == pytest.approx(1, abs=1e-5)
        assert set(row["top"][0]) == {"label", "score"}


def test_classify_names_what_it_cannot_read_and_does_the_rest(run: Path, tmp_path: Path):
    draw("red", "disc", 50).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:50])
    (tmp_path / "empty.png").write_bytes(b"")
    some = sightword("classify", tmp_path, "--labels", "a red disc", "a blue disc", "--model", run / "model")
    assert some.returncode == 1
    assert "good.png" in some.stdout
    assert "bad.png" in some.stderr
    assert "empty.png: the file is empty" in some.stderr
    none = sightword("classify", tmp_path / "bad.png", "--labels", "a red disc", "--model", run / "model")
    assert none.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "--labels", "a", "--model", "MODEL"], "no such file"),
        (["EMPTY", "--labels", "a", "--model", "MODEL"], "no image files"),
        (["GOOD", "--labels", "a", "a", "--model", "MODEL"], "stands twice"),
        (["GOOD", "--labels", "a", " ", "--model", "MODEL"], "is empty"),
        (["GOOD", "--labels", "long " * 100, "--model", "MODEL"], "shorten it"),
        (["GOOD", "--labels", "a", "--model", "nowhere"], "nowhere: no such checkpoint folder"),
        (["GOOD", "--labels", "a", "--templates", "no place", "--model", "MODEL"], "exactly one {}"),
        (["GOOD", "--labels", "a", "--model", "MODEL", "--device", "cuda:77"], "cuda:77"),
        (["GOOD", "--labels", "a", "--model", "MODEL", "--top", "0"], "at least 1"),
        (["--labels", "a", "--model", "MODEL"], "no images"),
        (["GOOD", "--model", "MODEL"], "--labels"),
        (["GOOD", "--lables", "a"], "--lables"),
    ],
)
def test_a_wrong_request_is_answered_with_2(
    run: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    # In this process: a dozen more of them would only spend their time on importing torch.
    (tmp_path / "nothing").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "good.png")
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": str(run / "model"), "EMPTY": str(tmp_path / "nothing"), "GOOD": str(tmp_path / "good.png")}
    code = command(["classify", *[places.get(argument, argument) for argument in arguments]])
    said = capsys.readouterr().err
    assert code == 2, said
    assert message in " ".join(said.replace("│", " ").split())
    assert len(said.splitlines()) <= 3 or "╭" in said  # the parser draws a box


def test_the_quickstart_needs_the_emoji(recipe: Path, tmp_path: Path):
    refused = sightword("quickstart", recipe, "--out", tmp_path / "run", "--set", "training.steps=1")
    assert refused.returncode == 2
    assert "data.source = 'emoji'" in refused.stderr
