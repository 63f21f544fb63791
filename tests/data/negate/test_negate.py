"""Captions and lists in, a table of negated captions out, as a user does it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sightword.cli import run as command
from sightword.data.negate import Probed, negate
from sightword.data.negate.balance import Balance
from sightword.data.negate.vocabulary import Vocabulary
from sightword.evaluation.text_only import text_only
from tests.data.negate.world import world, write_jsonl

ROWS = world(1500)
Table = list[dict[str, Any]]


def nothing(rows: Sequence[Probed]) -> list[Any]:
    return []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_jsonl(tmp_path_factory.mktemp("world"), ROWS)


@pytest.fixture(scope="module")
def made(files: tuple[Path, Path]) -> Table:
    out = files[0].with_name("negated.parquet")
    negate(*files, out, probe=nothing)
    return read(out)


def read(path: Path) -> Table:
    found: Table = pq.read_table(path).to_pylist()
    return found


def test_what_is_denied_is_so(made: Table) -> None:
    there = {key: {*objects} for key, objects, _ in ROWS}
    vocabulary = Vocabulary(name for _, names, _ in ROWS for name in names)
    ids, related = vocabulary.id_of, vocabulary.related
    assert len(made) > 1200
    for row in made:
        present = there[row["path"]]
        assert present.issuperset(row["present"])
        for missing in row["missing"]:
            assert missing not in present
            assert not any(related[ids[missing], ids[other]] for other in present)
        if row["answer"] is not None:
            x, y = row["option_names"]
            assert row["option_there"] == [x in present, y in present]
            kinds = {(True, True): "affirmation", (False, False): "negation"}
            assert row["option_kinds"][row["answer"]] == kinds.get(tuple(row["option_there"]), "hybrid")
            assert row["mcq"][0] == row["options"][row["answer"]]
            assert sorted(row["mcq"]) == sorted(row["options"])
            assert sorted(row["option_kinds"]) == ["affirmation", "hybrid", "hybrid", "negation"]


def test_the_two_texts_of_a_form_differ_in_the_name_alone(made: Table) -> None:
    ways = set()
    for row in made:
        for way, x, y, *texts in zip(
            *(row[column] for column in ("ways", "present", "missing", "affirmed", "foils", "absent", "denied")),
            strict=True,
        ):
            ways.add(way)
            affirmed, foil, absent, denied = (_without(text, x, y) for text in texts)
            assert affirmed == foil
            assert absent == denied
            assert len({*texts}) == 4
    assert ways == {"clause", "with", "is", "a", "listed", "alone", "double"}


def _without(text: str, *names: str) -> str:
    for name in names:
        text = re.sub(rf"\b(an? )?{name}\b", "#", text, flags=re.IGNORECASE)
    return text.lower()


def test_captions_are_negated_in_their_own_words(made: Table) -> None:
    row = next(row for row in made if "with" in row["ways"])
    at = row["ways"].index("with")
    caption, name = row["text"].rstrip(".").lower(), row["present"][at]
    before, _, after = caption.partition(f" with {'an' if name[0] in 'aeiou' else 'a'} {name}")
    denied = row["denied"][at].rstrip(".").lower()
    assert denied.startswith(before)
    assert denied.endswith(after)
    assert f"with {name}" not in denied


def test_names_do_not_tell_what_is_true(files: tuple[Path, Path], tmp_path: Path, monkeypatch: Any) -> None:
    found = negate(*files, tmp_path / "balanced.parquet", probe=text_only)
    assert [one.balanced for one in found.findings] == [True] * 3
    assert found.exit_code == 0
    # Drawn freely, things that are in many pictures would give themselves away.
    monkeypatch.setattr(Balance, "fit", lambda *_: None)
    free = negate(*files, tmp_path / "free.parquet", probe=text_only)
    assert not free.findings[0].balanced
    assert free.findings[0].low
    assert free.findings[0].low > 0.6
    assert free.exit_code == 1
    assert "do not train" in free.remarks()[-1]


def test_the_command_tells_what_it_made(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "out.parquet", tmp_path / "report.json"
    arguments = [files[0], out, "--objects", files[1], "--held-out", 0.25, "--json", report]
    assert command(["data", "negate", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert "denials" in said.out
    assert "captions left out: no nameable object" in said.err
    told = json.loads(report.read_text())
    assert told["rows"] == len(read(out)) + told["held_out_rows"]
    assert told["held_out_rows"] == len(read(tmp_path / "out.held-out.parquet"))
    assert told["rows"] + sum(told["skipped"].values()) == told["captions"] == len(ROWS)
    assert [one["task"] for one in told["probe"]] == ["denials", "affirmations", "options"]
    assert told["balanced"] is True


def test_what_is_absent_is_plausible(made: Table) -> None:
    """Nine things belong to a kitchen, some of them are there; twenty-six do not belong."""
    kitchens = [row for row in made if "kitchen" in row["text"] and row["missing"]]
    belongs = {"oven", "sink", "refrigerator", "bowl", "cup", "knife", "dining table", "chair", "microwave", "man"}
    missing = [name for row in kitchens for name in row["missing"]]
    assert sum(name in belongs for name in missing) > 0.5 * len(missing)


def test_the_same_command_gives_the_same_file(tmp_path: Path) -> None:
    files = write_jsonl(tmp_path, ROWS[:200])
    first, again, other = (tmp_path / f"{name}.parquet" for name in ("first", "again", "other"))
    for out, seed in ((first, 0), (again, 0), (other, 1)):
        negate(*files, out, probe=nothing, seed=seed)
    assert first.read_bytes() == again.read_bytes()
    assert [row["denied"] for row in read(first)] != [row["denied"] for row in read(other)]


def test_from_captions_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    found = negate(files[0], None, tmp_path / "out.parquet", probe=nothing)
    assert found.verifier == "captions"
    assert any("give --objects" in remark for remark in found.remarks())
    rows = read(tmp_path / "out.parquet")
    assert len(rows) > 900
    for row in rows:
        assert all(f" {name}" in f" {row['text'].lower()}" for name in row["present"])
        assert not any(f" {name} " in f" {row['text'].lower()} " for name in row["missing"])
    # Names may be given, too; plurals count.
    (tmp_path / "names.txt").write_text("dog\ncat\ncow\nbird\n")
    (tmp_path / "few.csv").write_text("path,text\n1.jpg,two dogs and a cat\n2.jpg,a cow and birds\n" * 20)
    negate(tmp_path / "few.csv", tmp_path / "names.txt", tmp_path / "few.parquet", probe=nothing)
    few = read(tmp_path / "few.parquet")
    assert {name for row in few if row["path"] == "1.jpg" for name in row["present"]} <= {"dog", "cat"}
    assert {name for row in few for name in row["present"]} == {"dog", "cat", "cow", "bird"}


def test_what_cannot_be_negated_is_counted(tmp_path: Path) -> None:
    texts = {
        "no text": "  ",
        "another script": "一只狗在街上",
        "longer than 50 words": "a dog and " * 30,
        "denies something itself": "a street without a dog",
        "no nameable object": "the quiet of the evening",
    }
    captions = [("", "a dog on a street")]
    captions += [(f"{reason}.jpg", text) for reason, text in texts.items()]
    captions += [(f"{number}.jpg", text) for number, (_, _, text) in enumerate(ROWS[:200])]
    file = tmp_path / "captions.tsv"
    file.write_text("key\tcaption\n" + "".join(f"{key}\t{text}\n" for key, text in captions))
    found = negate(file, None, tmp_path / "out.parquet", probe=nothing)
    assert found.captions == len(captions)
    assert found.skipped["names no picture"] == 1
    assert found.skipped.items() >= dict.fromkeys([*texts][:4], 1).items()
    assert found.skipped["no nameable object"] >= 1
    assert found.rows + sum(found.skipped.values()) == found.captions
    assert not {*texts} & {row["key"] for row in read(tmp_path / "out.parquet")}


def test_a_list_that_contradicts_its_caption_is_counted_and_the_caption_believed(tmp_path: Path) -> None:
    rows = [("odd.jpg", ["car"], "a dog next to a car in the street"), *ROWS[:300]]
    found = negate(*write_jsonl(tmp_path, rows), tmp_path / "out.parquet", probe=nothing)
    assert found.contradictions == 1
    odd = [row for row in read(tmp_path / "out.parquet") if row["path"] == "odd.jpg"]
    assert "dog" not in {name for row in odd for name in row["missing"]}
    captions, objects = write_jsonl(tmp_path, rows)
    objects.write_text("\n".join(objects.read_text().splitlines()[10:]))
    less = negate(captions, objects, tmp_path / "less.parquet", probe=nothing)
    assert less.skipped["its picture is not among the objects"] == 10


def test_only_what_a_list_says_is_absent_is_denied_where_there_is_one(tmp_path: Path) -> None:
    captions, objects = write_jsonl(tmp_path, ROWS[:300])
    objects = tmp_path / "objects.csv"
    lines = [f'{key},"{", ".join(names)}",{"sink" if "sink" not in names else "cow"}' for key, names, _ in ROWS[:300]]
    objects.write_text("path,objects,absent\n" + "\n".join(lines) + "\n")
    found = negate(captions, objects, tmp_path / "out.parquet", probe=nothing)
    assert found.verifier == "absent list"
    assert {name for row in read(tmp_path / "out.parquet") for name in row["missing"]} <= {"sink", "cow"}


def test_nothing_is_written_where_it_fails(files: tuple[Path, Path], tmp_path: Path) -> None:
    def broken(rows: Sequence[Probed]) -> list[Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        negate(*files, tmp_path / "out.parquet", probe=broken, held_out=0.2)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ["none.csv", "OUT"], "none.csv: no such file"),
        ({"a.csv": "path,text\n"}, ["a.csv", "out.csv"], "ends in .parquet"),
        ({"a.csv": "path,text\n"}, ["a.csv", "OUT", "--held-out", "1"], "from 0 to below 1"),
        ({"a.xls": ""}, ["a.xls", "OUT"], "captions come from a .parquet"),
        ({"a.csv": "path,words\n1,a dog\n"}, ["a.csv", "OUT"], "no column of captions"),
        ({"a.csv": "who,text\n1,a dog\n"}, ["a.csv", "OUT"], "no column of keys or paths"),
        ({"a.jsonl": '{"path": "1", "text": "a dog"}\n{'}, ["a.jsonl", "OUT"], "line 2: is no JSON"),
        ({"a.jsonl": "[]\n"}, ["a.jsonl", "OUT"], "line 1: is no JSON object"),
        ({"a.parquet": "no"}, ["a.parquet", "OUT"], "not a readable Parquet file"),
        ({"a.csv": "path,text\n1,a dog\n"}, ["a.csv", "OUT"], "not two names"),
        (
            {"a.csv": "path,text\n1,the day\n", "n.txt": "dog\ncat"},
            ["a.csv", "OUT", "--objects", "n.txt"],
            "no caption",
        ),
        ({"a.csv": "path,text\n1,a dog\n", "n.txt": "\n"}, ["a.csv", "OUT", "--objects", "n.txt"], "holds no names"),
        (
            {"a.csv": "path,text\n1,a dog\n", "o.csv": "key,objects\n1,dog\n"},
            ["a.csv", "OUT", "--objects", "o.csv"],
            "no column names the pictures in both",
        ),
        ({"a.csv": "path,text\n1,a dog\n", "o.csv": "path\n1\n"}, ["a.csv", "OUT", "--objects", "o.csv"], "of objects"),
        ({"captions_a.json": "{}"}, [".", "OUT"], "none of COCO's files"),
        ({"captions_a.json": "{"}, [".", "OUT"], "cannot be read as JSON"),
        ({"other.json": "{}"}, [".", "OUT"], "holds no file of COCO's captions"),
        ({"OUT": "", "a.csv": "path,text\n"}, ["a.csv", "OUT"], "is there already"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    files: dict[str, str],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name.replace("OUT", "out.parquet")).write_text(content)
    before = {*tmp_path.iterdir()}
    code = command(["data", "negate", *[argument.replace("OUT", "out.parquet") for argument in arguments]])
    said = capsys.readouterr().err
    assert message in said
    assert code == (1 if message == "no caption" else 2)
    assert {*tmp_path.iterdir()} == before
