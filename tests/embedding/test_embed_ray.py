"""`embed` on a Ray cluster of two workers: the same files, and the same way on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightword.embedding.bulk import embed
from sightword.embedding.cluster import Cluster, share
from sightword.errors import RequestError, SightwordError
from tests.embedding.conftest import files_of

ray = pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("machines", "workers", "expected"),
    [
        ([(2, 0)], 2, Cluster(2, 1, "cpu")),
        ([(16, 0)], None, Cluster(1, 16, "cpu")),
        ([(0, 0), (16, 0), (4, 0)], None, Cluster(2, 8, "cpu")),  # both on the larger one
        ([(0, 0), (4, 0), (4, 0)], 3, Cluster(3, 2, "cpu")),
        ([(32, 8), (4, 0), (16, 2)], None, Cluster(10, 4, "cuda")),
    ],
)
def test_workers_have_room_on_their_machines(machines: Any, workers: int | None, expected: Cluster) -> None:
    """A worker that has none would be waited for without end."""
    assert share([{"CPU": cpus, "GPU": gpus} for cpus, gpus in machines], workers) == expected


@pytest.mark.parametrize(("machines", "workers"), [([(2, 0)], 3), ([(16, 2)], 3), ([(0, 0)], None), ([], None)])
def test_more_workers_than_places_are_refused(machines: Any, workers: int | None) -> None:
    with pytest.raises(RequestError, match=r"the Ray cluster has .*: too few"):
        share([{"CPU": cpus, "GPU": gpus} for cpus, gpus in machines], workers)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except Exception as failure:  # Ray gives its own processes 30 seconds: too few on a machine that is busy
            pytest.skip(f"Ray does not start here: {failure}")
        yield
        ray.shutdown()


def test_a_cluster_that_is_not_there(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not for real: `auto` finds whatever cluster somebody else has on this machine.
    def init(address: str, **_: Any) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {address}.\nPlease specify")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RequestError, match=r"no Ray cluster at 'auto' \(Could not find any running Ray instance"):
        embed(photos, checkpoint, tmp_path / "out", ray="auto")
    assert not (tmp_path / "out").exists()


def test_two_workers_of_a_cluster_give_the_same_files(
    cluster: None, checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    embed(photos, checkpoint, whole, part_size=8, batch_size=3, device="cpu")
    # One of the parts is there already: a job that is begun with Ray goes on without, and the other way round.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightword.embedding.bulk.finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    for part in (1, 2, 3):
        (out / f"part-0000{part}.parquet").unlink()
    told: list[int] = []
    report = embed(
        photos,
        checkpoint,
        out,
        part_size=8,
        batch_size=3,
        ray="local",
        workers=2,
        progress=lambda done, total: told.append(done),
    )
    assert (report.now, report.embedded, report.skipped) == (22, 27, 3)
    assert (told[0], told[-1]) == (8, 30)
    assert files_of(out) == files_of(whole)

    # What fails on a worker is said as it is.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightword.embedding.bulk.fingerprint", lambda *_: "sha256:another")
        with pytest.raises(SightwordError, match="not the model that the work was begun with"):
            embed(photos, checkpoint, tmp_path / "other", ray="local", workers=1)
