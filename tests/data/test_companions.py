"""Further texts about a picture: drawn with the pair's own, a function of seed, epoch and index alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from sightword.data.augment import Augment
from sightword.data.companions import read_companions
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.pack import pack
from sightword.data.pairs import KINDS, NO_LABEL, Batch, Companions, Kind, Pair, PairList, label_id
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from tests.training.conftest import draw


def companions(number: int) -> Companions | None:
    """Of every third pair there are none, and of the next no long one."""
    if number % 3 == 2:
        return None
    return Companions(
        denied=tuple(f"no thing {number} {which}" for which in range(4)),
        absent=tuple(f"without {number} {which}" for which in range(4)),
        foils=(f"another {number}",),
        long=() if number % 3 else (f"a long tale of {number}",),
    )


PAIRS = PairList(
    [
        Pair(draw("red", "disc", number), (f"a thing {number}", f"alias {number}"), str(number), f"label {number}",
             companions=companions(number))
        for number in range(6)
    ]
)  # fmt: skip


@pytest.fixture
def loader(tokenizer: Tokenizer) -> Loader:
    augment = Augment(crop=(0.5, 1.0), flip=0.5, brightness=0.3)
    return Loader(PAIRS, tokenizer, ImageSpec(size=16), augment, batch_size=4, seed=3, first=0.5, kinds=KINDS)


def take(loader: Loader, count: int, start: int = 0) -> list[Batch]:
    batches = loader.batches(start)
    try:
        return list(islice(batches, count))
    finally:
        batches.close()


def same(one: Batch, other: Batch) -> bool:
    return one.texts == other.texts and all(
        torch.equal(one.beside[kind].tokens.ids, other.beside[kind].tokens.ids)
        and torch.equal(one.beside[kind].labels, other.beside[kind].labels)
        for kind in KINDS
    )


def test_each_row_has_a_text_of_its_own_pair(loader: Loader):
    seen: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
    for batch in take(loader, 40):
        assert list(batch.beside) == list(KINDS)
        for kind, texts in batch.beside.items():
            assert len(texts.tokens) == len(texts.labels) == len(batch)
            for row, key in enumerate(batch.keys):
                found = PAIRS[int(key)].companions
                allowed = {label_id(text) for text in found.of(kind)} if found else set()
                assert int(texts.labels[row]) in (allowed or {NO_LABEL})
                assert bool(texts.there[row]) == bool(allowed)
            seen[kind] |= set(texts.labels.tolist())
    every = {label_id(text) for pair in PAIRS if pair.companions for text in pair.companions.denied}
    assert seen["denied"] == every | {NO_LABEL}  # all of them come


def test_kinds_of_one_number_stay_together(loader: Loader):
    for batch in take(loader, 6):
        for row, key in enumerate(batch.keys):
            found = PAIRS[int(key)].companions
            if found:
                places = [
                    [label_id(text) for text in found.of(kind)].index(int(batch.beside[kind].labels[row]))
                    for kind in ("denied", "absent")
                ]
                assert places[0] == places[1]


def test_they_stand_in_the_sentence_of_the_pair(loader: Loader):
    [batch] = take(replace(loader, templates=("not a {}",), kinds=("denied",)), 1)
    row = next(row for row, there in enumerate(batch.beside["denied"].there) if there)
    text = next(
        text
        for text in PAIRS[int(batch.keys[row])].companions.denied  # type: ignore[union-attr]
        if label_id(text) == int(batch.beside["denied"].labels[row])
    )
    expected = loader.tokenizer([f"not a {text}"], truncate=True)
    length = int(expected.lengths[0])
    assert torch.equal(batch.beside["denied"].tokens.ids[row, :length], expected.ids[0, :length])


def test_batches_depend_on_their_number_alone(loader: Loader):
    expected = take(loader, 6)
    for other in (replace(loader, workers=0), replace(loader, workers=4, ahead=2)):
        assert all(map(same, take(other, 6), expected))
    assert all(map(same, take(loader, 3, start=3), expected[3:]))


def test_the_ranks_have_the_rows_of_one(loader: Loader):
    [whole] = take(loader, 1)
    parts = [take(replace(loader, rank=rank, ranks=3), 1)[0] for rank in range(3)]
    for kind in KINDS:
        assert torch.cat([part.beside[kind].labels for part in parts]).equal(whole.beside[kind].labels)
        assert whole.rows(slice(1, 3)).beside[kind].labels.equal(whole.beside[kind].labels[1:3])


def test_nothing_else_of_a_batch_changes(loader: Loader):
    # Losses are compared on the same pictures, captions and augmentations.
    for one, other in zip(take(loader, 3), take(replace(loader, kinds=()), 3), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.draws, other.draws)
        assert one.texts == other.texts
        assert not other.beside


TOLD = Companions(
    denied=("no cat", "a mat without a cat"),
    absent=("no dog",),
    foils=("a dog on a mat",),
    mcq=(("a cat", "no cat"), ("a mat", "a dog", "a rug")),
)


def write_table(file: Path) -> None:
    """Row 0 with lists, row 1 with single texts, row 2 with nothing, row 3 with what is no text."""
    for number in range(4):
        draw("red", "disc", number).save(file.parent / f"{number}.png")
    rows: list[dict[str, Any]] = [
        {"path": f"{number}.png", "text": "a cat on a mat", "denied": None, "absent": None, "foils": None, "mcq": None}
        for number in range(4)
    ]
    rows[0] |= {"denied": ["no cat", " a mat\nwithout a cat "], "absent": ["no dog"], "foils": ["a dog on a mat", ""]}
    rows[0] |= {"mcq": [["a cat", " no\tcat"], [], ["a mat", "a dog", "", "a rug"]]}
    rows[1] |= {"denied": ["[sic] no cat"], "absent": ["no dog"]}
    rows[3] |= {"denied": [], "foils": [" "]}
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        rows[1] |= {"denied": "[sic] no cat", "absent": "no dog"}
        rows[3] |= {"denied": 7, "absent": {"no": "text"}}
        file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        rows[0] = {key: json.dumps(value) if isinstance(value, list) else value for key, value in rows[0].items()}
        rows[1] |= {"denied": "[sic] no cat", "absent": "no dog"}
        rows[3] |= {"denied": "[]", "foils": " "}
        with file.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, [*rows[0]], delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


def assert_told(pairs: Iterable[Pair]) -> None:
    found = {pair.key.rpartition("/")[2].partition(".")[0][-1]: pair.companions for pair in pairs}
    assert found == {"0": TOLD, "1": Companions(denied=("[sic] no cat",), absent=("no dog",)), "2": None, "3": None}


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.parquet"])
def test_they_are_columns_of_a_table(tmp_path: Path, name: str):
    write_table(tmp_path / name)
    pairs = open_pairs(str(tmp_path / name))
    assert_told(pairs)
    assert all(pair.texts == ("a cat on a mat",) for pair in pairs)


def test_they_are_columns_of_a_shard_with_bytes(tmp_path: Path):
    write_table(tmp_path / "paths.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "paths.parquet")
    pictures = [(tmp_path / place.as_py()).read_bytes() for place in table["path"]]
    table = table.rename_columns(["key", *table.column_names[1:]]).append_column("image", [pictures])
    pyarrow.parquet.write_table(table, tmp_path / "shard.parquet")
    for _ in range(2):  # looked through, and from the index that this left
        assert_told(open_pairs(str(tmp_path / "shard.parquet")))


def test_packed_pairs_keep_them(tmp_path: Path):
    write_table(tmp_path / "pairs.jsonl")
    pack(str(tmp_path / "pairs.jsonl"), tmp_path / "shards")
    source = open_pairs(str(tmp_path / "shards"))
    assert len(source) == 4
    assert sorted(map(repr, (pair.companions for pair in source))) == sorted(
        map(repr, (pair.companions for pair in open_pairs(str(tmp_path / "pairs.jsonl"))))
    )


@pytest.mark.parametrize(("line", "message"), [("{", "not readable as JSON"), ("[1]", "is no JSON object")])
def test_lines_that_are_no_json_are_named(tmp_path: Path, line: str, message: str):
    (tmp_path / "pairs.jsonl").write_text('{"path": "0.png", "text": "a cat"}\n' + line)
    with pytest.raises(RequestError, match=f"line 2: {message}"):
        open_pairs(str(tmp_path / "pairs.jsonl"))


def test_texts_that_only_affirm_are_texts_of_the_pair(tmp_path: Path):
    draw("red", "disc", 1).save(tmp_path / "a.png")
    row = {"path": "a.png", "text": "a cat", "affirmed": ["a cat and a mat", "a mat"], "foils": ["a cat and a dog"] * 2}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    pack(str(tmp_path / "pairs.jsonl"), tmp_path / "shards")
    image = (tmp_path / "a.png").read_bytes()
    table = pyarrow.Table.from_pylist([{"key": "a", "image": image, "text": "a cat", "affirmed": row["affirmed"]}])
    pyarrow.parquet.write_table(table, tmp_path / "bytes.parquet")
    for place in ("pairs.jsonl", "shards", "bytes.parquet"):
        (pair,) = open_pairs(str(tmp_path / place))
        assert pair.texts == ("a cat", "a cat and a mat", "a mat")


def test_a_batch_holds_all_of_a_kind_pair_after_pair(tokenizer: Tokenizer):
    told = [("a", "b"), (), ("b",), ("c", "a", "d")]
    pairs = [replace(PAIRS[number], companions=Companions(tags=names)) for number, names in enumerate(told)]
    pairs[1] = replace(pairs[1], companions=None)
    spec = ImageSpec(size=16)
    listed = Loader(PairList(pairs), tokenizer, spec, Augment(), 4, seed=3, templates=("the {}",), listed=("tags",))
    (batch,) = take(listed, 1)
    names = [name for key in batch.keys for name in told[int(key)]]
    tags = batch.listed["tags"]
    assert torch.equal(tags.tokens.ids, tokenizer([f"the {name}" for name in names]).ids)
    assert tags.labels.tolist() == [label_id(name) for name in names]
    assert tags.counts.tolist() == [len(told[int(key)]) for key in batch.keys]
    parts = [batch.rows(rows).listed["tags"] for rows in (slice(0, 1), slice(1, 3), slice(3, None))]
    assert torch.equal(torch.cat([part.labels for part in parts]), tags.labels)
    assert [len(part.tokens) for part in parts] == [int(part.counts.sum()) for part in parts]


@pytest.mark.parametrize(
    ("cell", "questions"),
    [
        (["a cat", "no cat"], (("a cat", "no cat"),)),
        ('["a cat", "no cat"]', (("a cat", "no cat"),)),
        ('[["a cat", "no cat"], ["a dog"]]', (("a cat", "no cat"), ("a dog",))),
        ([[], [""], None], ()),
        ([["a cat", "no cat"], 7, None], (("a cat", "no cat"),)),
    ],
)
def test_a_cell_of_one_question_or_of_several(cell: Any, questions: tuple[tuple[str, ...], ...]):
    told = read_companions({"mcq": cell})
    assert (told.mcq if told else ()) == questions


def test_a_batch_holds_one_whole_question_of_each_pair(tokenizer: Tokenizer):
    asked = (("a", "b"), ("c", "d", "e"), ("f", "g"))
    told = [replace(PAIRS[number], companions=Companions(mcq=asked)) for number in range(3)]
    pairs = PairList([*told, PAIRS[5]])
    loader = Loader(pairs, tokenizer, ImageSpec(size=16), Augment(), 4, seed=3, listed=("mcq",))
    batches, seen = take(loader, 30), []
    for batch in batches:
        mcq = batch.listed["mcq"]
        for key, labels in zip(batch.keys, mcq.labels.split(mcq.counts.tolist()), strict=True):
            which = [question for question in asked if labels.tolist() == [label_id(text) for text in question]]
            assert len(which) == (key != "5")
            seen += which
    assert min(map(seen.count, asked)) >= 20  # of 90
    again = take(loader, 2, start=5)
    assert all(one.listed["mcq"].labels.equal(batches[5 + at].listed["mcq"].labels) for at, one in enumerate(again))
