"""The report: it needs nothing but itself, says every number, escapes what comes from data, and survives poor runs."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightword.data.labelled import Labelled
from sightword.data.pairs import Skipped
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.classification import Outcome, metric_rows
from sightword.evaluation.emoji import TRAINED_ON, UNSEEN_NAMES, UNSEEN_VENDORS, Evidence, Judged
from sightword.evaluation.gallery import gallery
from sightword.evaluation.metrics import single_ranks
from sightword.evaluation.report import NEIGHBOUR_TEXTS, Run, write_report
from sightword.evaluation.rows import Row, share_row
from sightword.training.recipe import Recipe

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

HOSTILE = '<script>alert("x")</script> & $\\frac$'
NAMES = ("anchor", "bell", HOSTILE, "dolphin", "egg", "flag: Côte d'Ivoire", "goat")
VENDORS = {
    UNSEEN_VENDORS: ("Apple", "Windows"),
    UNSEEN_NAMES: ("Apple", "Google"),
    TRAINED_ON: ("Google", "Twitter"),
}
DIM = 8


class StubEmbedder:
    """Texts to fixed random unit vectors."""

    def embed_texts(self, texts: Sequence[str], batch_size: int = 256, truncate: bool = False) -> np.ndarray:
        assert truncate  # a model with a short context must not stop the report
        return _unit(np.random.default_rng(1), len(texts))


class Page(HTMLParser):
    """Tags with their attributes, and all text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def count(self, name: str) -> int:
        return sum(name in (attributes.get("class") or "").split() for _, attributes in self.tags)


def _unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.normal(size=(n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _scores(rng: np.random.Generator, truth: np.ndarray, hit_rate: float) -> np.ndarray:
    """Made-up scores: the true name is best in `hit_rate` of the pictures, and elsewhere further down."""
    n = len(truth)
    rank = np.where(rng.random(n) < hit_rate, 0, rng.integers(1, len(NAMES), n))
    order = np.array([rng.permutation(np.delete(np.arange(len(NAMES)), name)) for name in truth])
    ranked = np.array([np.insert(row, place, name) for row, place, name in zip(order, rank, truth, strict=True)])
    scores = np.zeros((n, len(NAMES)), dtype=np.float32)
    np.put_along_axis(scores, ranked, np.array([[0.5, 0.2, 0.1, 0.05, 4e-4, 3e-4, 2e-4]], np.float32), axis=1)
    return scores


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.new("RGBA", (144, 90), (200, 30, 30, 128)).save(path)
    return path


def make_evidence(picture: Path, n: int = 40, hit_rate: float = 0.6, skipped: tuple[Skipped, ...] = ()) -> Evidence:
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    by_vendor: list[Row] = []
    tests: dict[str, Judged] = {}
    for test, vendors in VENDORS.items():
        truth = np.arange(n) % len(NAMES)
        groups = [vendors[i % len(vendors)] for i in range(n)]
        data = Labelled(test, "test", [picture] * n, truth, NAMES, [f"{test}/{i}.png" for i in range(n)], groups=groups)
        vectors, found, ranks, galleries = _unit(rng, n), [], {}, {}
        for prompt in ("plain", "ensemble"):
            scores = _scores(rng, truth, hit_rate)
            found += metric_rows(data, prompt, ("top1", "top5"), scores)
            ranks[f"rank {prompt}"] = single_ranks(scores, truth)
            galleries[prompt] = gallery(data, scores)
            for vendor in vendors:
                mine = [i for i, group in enumerate(groups) if group == vendor]
                hits = int((ranks[f"rank {prompt}"][mine] < 1).sum())
                by_vendor.append(share_row(test, vendor, prompt, "top1", hits, len(mine), 1853))
        if test != TRAINED_ON:
            rows += found
        tests[test] = Judged(data, vectors, Outcome(tuple(found), {}, ranks, galleries), skipped)
    return Evidence(tuple(rows), tuple(by_vendor), tests)


def make_run(validations: int = 3, steps: int = 60) -> Run:
    recipe = Recipe.model_validate(
        {
            "title": f"a small run {HOSTILE}",
            "seed": 1234,
            "data": {"source": "emoji"},
            "model": {
                "embed_dim": 8,
                "image": {"kind": "vit", "image_size": 32, "patch": 16, "width": 16, "layers": 1, "heads": 2},
                "text": {"kind": "transformer", "width": 16, "layers": 1, "heads": 2},
            },
            "training": {"steps": 600, "batch_size": 64, "lr": 0.001},
            "evaluation": {"plain": ["{}"], "ensemble": ["an emoji of {}", "a <b>drawing</b> of {}"]},
        }
    )
    events: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    for step in range(10, 10 * steps + 10, 10):
        events.append(
            {"event": "step", "step": step, "images_per_s": 123.4, "waiting": 0.031, "loss": 4 - step / 200}
            | {"scale": 14.3, "lr": 1e-3, "gradient": 1.0}
        )
    for number in range(validations):
        row = share_row("held-out pairs", "validation", "plain", "top1", 20 * number, 80, 7)
        events.append({"event": "validation", "step": 200 * number + 200, "row": row.to_json()})
    events.append({"event": "skipped", "step": 1, "key": f"Goog/{HOSTILE}.png", "reason": "the file is empty"})
    return Run(
        recipe=recipe,
        versions={"python": "3.99.1", "torch": "9.8.7"},
        machine="x86_64, 3 threads, cpu",
        minutes={"setup": 1.25, "training": 22.5, "total": 27.75},
        skipped=17,
        events=tuple(events),
        parameters=30_123_456,
    )


def render(path: Path, run: Run, evidence: Evidence) -> Page:
    write_report(path, run, evidence, StubEmbedder())  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, picture_file: Path) -> Page:
    return render(tmp_path_factory.mktemp("report") / "report.html", make_run(), make_evidence(picture_file))


def test_it_needs_nothing_but_itself(page: Page) -> None:
    assert "http://" not in page.html
    assert "https://" not in page.html
    assert "url(" not in page.html
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert len(page.html) < 5_000_000


def test_contents_lead_to_sections(page: Page) -> None:
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    ids = [f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes]
    assert targets == ids == ["#results", "#pictures", "#curves", "#vendors", "#neighbours", "#run"]


def test_every_number_is_there(page: Page, picture_file: Path) -> None:
    evidence = make_evidence(picture_file)
    for row in (*evidence.rows, *evidence.by_vendor):
        assert f"{100 * row.value:.1f} %" in page.text
        assert f"{100 * row.low:.1f}–{100 * row.high:.1f}" in page.text
        assert f"{row.n:,}" in page.text
    assert "1,853" in page.html
    headline = next(r for r in evidence.rows if (r.test, r.prompt, r.metric) == (UNSEEN_VENDORS, "ensemble", "top1"))
    lead = re.sub(r"\s+", " ", page.text)
    assert (
        f"The model names {100 * headline.value:.1f} % of pictures in drawing styles that it never saw "
        "(Apple and Windows), among 7 names, and"
    ) in lead


def test_the_run_is_told(page: Page) -> None:
    for fact in (
        "30,123,456", "600 steps of 64 pairs", "1234", "x86_64, 3 threads, cpu", "setup 1.2, training 22.5, total 27.8",
        "123.4 images/s (median), 3.1 % of the time waiting for data", "17", "torch 9.8.7", "python 3.99.1",
        "an emoji of {}", "batch_size = 64", "[model.image]", "the file is empty",
    ):  # fmt: skip
        assert fact in page.text, fact


def test_what_comes_from_data_is_escaped(page: Page) -> None:
    assert HOSTILE in page.text  # as text, in names and in the title
    assert "<script" not in page.html
    assert "<b>drawing" not in page.html


def test_gallery_is_balanced_and_marked_without_colour(page: Page) -> None:
    galleries = 2
    assert page.count("hit") == 12 * galleries
    assert page.count("miss") == 12 * galleries
    assert page.text.count("✓ hit") == 12 * galleries
    assert page.text.count("✗ miss") == 12 * galleries
    assert "no. 6" in page.text or "no. 7" in page.text  # a true name that is not among the five best
    assert "< 0.1" in page.text


def test_neighbours(page: Page) -> None:
    for text in NEIGHBOUR_TEXTS:
        assert f"“{text}”" in page.text
    assert page.count("near") == len(NEIGHBOUR_TEXTS)


def test_pictures_are_small_and_on_white(page: Page) -> None:
    uris = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    pngs = [uri for uri in uris if uri.startswith("data:image/png;base64,")]
    assert len(pngs) == 2 * 24 + 8 * len(NEIGHBOUR_TEXTS)
    picture = Image.open(io.BytesIO(base64.b64decode(pngs[0].partition(",")[2])))
    assert (picture.size, picture.mode) == ((72, 45), "RGB")
    assert picture.getpixel((30, 20)) == pytest.approx((227, 142, 142), abs=2)


def test_figures_say_in_words_what_they_show(page: Page) -> None:
    alts = [attributes["alt"] or "" for tag, attributes in page.tags if tag == "img" and attributes.get("alt")]
    assert len(alts) == 6
    assert any("training loss goes from 3.95 at step 10 to 1.00 at 600" in alt for alt in alts)
    assert any("Google (trained style)" in alt and "Apple (unseen style)" in alt for alt in alts)


def test_the_same_run_gives_the_same_bytes(page: Page, picture_file: Path, tmp_path: Path) -> None:
    assert render(tmp_path / "again.html", make_run(), make_evidence(picture_file)).html == page.html


def test_without_validation_and_without_hits(picture_file: Path, tmp_path: Path) -> None:
    poor = render(tmp_path / "poor.html", make_run(validations=0, steps=1), make_evidence(picture_file, hit_rate=0))
    assert "There is no validation curve" in poor.text
    assert poor.count("hit") == 0
    assert poor.count("miss") == 24
    assert "0 hits and 40 misses" in poor.text


def test_without_steps(picture_file: Path, tmp_path: Path) -> None:
    page = render(tmp_path / "bare.html", replace(make_run(), events=()), make_evidence(picture_file, n=2))
    assert "The log holds no training step" in page.text


def test_without_pictures(tmp_path: Path) -> None:
    page = render(tmp_path / "empty.html", make_run(), Evidence((), (), {}))
    for words in ("No test picture was judged", "There are no test pictures", "There are no figures by vendor"):
        assert words in page.text


def test_skipped_test_pictures_are_named(picture_file: Path, tmp_path: Path) -> None:
    skipped = tuple(Skipped(f"Appl/{i}.png", "is cut short") for i in range(30))
    page = render(tmp_path / "skipped.html", make_run(), make_evidence(picture_file, skipped=skipped))
    assert "Unseen vendors: 30 left out, the first of them:" in page.text
    assert "Appl/19.png" in page.text
    assert "Appl/20.png" not in page.text


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named(
    package: str, picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RequestError, match=r"pip install 'sightword\[train\]'"):
        render(tmp_path / "report.html", make_run(), make_evidence(picture_file, n=2))
    assert not list(tmp_path.iterdir())


def test_a_report_is_whole_or_not_there(picture_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SightwordError, match="could not be made"):
        render(tmp_path / "file" / "report.html", make_run(), make_evidence(picture_file, n=2))


def test_importing_it_costs_little() -> None:
    code = "import sys, sightword.evaluation.report; print([m for m in ('matplotlib', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
