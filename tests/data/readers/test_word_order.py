"""ARO's word orders: four shuffles by the tags of words. The tagger is a pipeline of spaCy, installed as its English
model is, but one that knows the words of these captions alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightword.data.readers import word_order
from sightword.errors import RequestError
from tests.data.readers.shared import picture_bytes, write
from tests.data.readers.test_foils import asked, right

TAGS = {
    "NN": ["man", "helmet", "moped", "road", "words"],
    "JJ": ["red", "small", "dirty", "four"],
}
ORDERS = [
    ("coco_order", "coco/coco_karpathy_test.json", "val2014/COCO_val2014_000000391895.jpg"),
    ("flickr30k_order", "flickr30k/flickr30k_test.json", "flickr30k-images/1007129816.jpg"),
]


@pytest.fixture
def tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en", meta={"name": "core_web_sm", "version": "3.8.0"})
    ruler = pipeline.add_pipe("attribute_ruler")
    ruler.add([[{"LOWER": {"REGEX": ".*"}}]], {"TAG": "XX"})
    for tag, words in TAGS.items():
        ruler.add([[{"LOWER": {"IN": words}}]], {"TAG": tag})
    packages = tmp_path / "packages"
    write(packages / "en_core_web_sm" / "meta.json", json.dumps(pipeline.meta))
    pipeline.to_disk(packages / "en_core_web_sm" / "en_core_web_sm-3.8.0")
    loads = "from spacy.util import load_model_from_init_py\n"
    loads += "def load(**settings):\n    return load_model_from_init_py(__file__, **settings)\n"
    write(packages / "en_core_web_sm" / "__init__.py", loads)
    write(packages / "en_core_web_sm-3.8.0.dist-info" / "METADATA", "Name: en_core_web_sm\nVersion: 3.8.0\n")
    monkeypatch.syspath_prepend(str(packages))
    word_order._tagger.cache_clear()
    yield
    word_order._tagger.cache_clear()


@pytest.mark.parametrize(("name", "file", "picture"), ORDERS)
def test_aro_s_four_orders(tmp_path: Path, tagger: None, name: str, file: str, picture: str) -> None:
    captions = ["A man with a red helmet, on a small moped.", "no no no no no", "Too short", "A man walks there slowly"]
    captions.append("On the dirty road, four small words!")
    write(tmp_path / file, json.dumps([{"image": picture, "caption": captions}]))
    write((tmp_path / file).parent / picture, picture_bytes(0, "jpeg"))
    data = asked(name, tmp_path)
    assert data.keys == [picture]
    # The second and third, and the fourth, of whose one noun there is no other order.
    assert "3 captions of fewer than 4 words, or in which a shuffle changes nothing, are left out" in data.made
    first, second = data.questions
    assert right(first) == "a man with a red helmet on a small moped"
    assert right(second) == "on the dirty road four small words"
    options = dict(zip(first.kinds, first.texts, strict=True))
    words = right(first).split()
    assert {*options} == {
        "caption",
        "nouns and adjectives",
        "all but nouns and adjectives",
        "within trigrams",
        "trigrams",
    }
    for kind, text in options.items():
        assert sorted(text.split()) == sorted(words)
        assert (text == right(first)) == (kind == "caption")
    # Nouns stand where nouns stood, adjectives where adjectives did, and all others stay.
    for before, after in zip(words, options["nouns and adjectives"].split(), strict=True):
        assert tag(before) == tag(after)
        assert before == after or tag(before)
    # The comma and the full stop move with the others before they are left out.
    others = options["all but nouns and adjectives"].split()
    assert [word for word in others if tag(word)] == [word for word in words if tag(word)]
    # Of the tokens, of which the comma is one: a man with | a red helmet | , on a | small moped .
    pieces = [["a", "man", "with"], ["a", "red", "helmet"], ["on", "a"], ["small", "moped"]]
    within = options["within trigrams"].split()
    assert [sorted(within[a:b]) for a, b in ((0, 3), (3, 6), (6, 8), (8, 10))] == [sorted(piece) for piece in pieces]
    assert all(" ".join(piece) in options["trigrams"] for piece in pieces)
    assert asked(name, tmp_path).questions == data.questions
    for wrong in ([None], 5):
        write(tmp_path / file, json.dumps([{"image": picture, "caption": wrong}]))
        with pytest.raises(RequestError, match="is no list of pictures with captions"):
            asked(name, tmp_path)


def tag(word: str) -> str:
    return next((tag for tag, words in TAGS.items() if word in words), "")


def test_without_the_tagger_it_says_what_to_install(tmp_path: Path) -> None:
    word_order._tagger.cache_clear()
    _, file, picture = ORDERS[0]
    write(tmp_path / file, json.dumps([{"image": picture, "caption": ["A man with a red helmet"]}]))
    write((tmp_path / file).parent / picture, picture_bytes(0, "jpeg"))
    with pytest.raises(RequestError, match=r"sightword\[tags\].*spacy download en_core_web_sm"):
        asked("coco_order", tmp_path)
