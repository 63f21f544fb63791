"""InfoNCE against the formula, in float64 numpy, with gradients derived by hand and by finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightword.objectives import InfoNCE, tiles

Array = NDArray[np.float64]
LABELS = {
    "no labels": None,
    "all different": [0, 1, 2, 3, 4, 5, 6],
    "duplicates": [4, 9, 4, 2, 9, 4, 7],
    "all the same": [1] * 7,
}


@pytest.fixture(params=[(1024, 2048), (3, 2)], ids=["one tile", "many tiles"], autouse=True)
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiles._TILE, "cpu", request.param)


def reference(image: Array, text: Array, scale: float, labels: list[int] | None) -> tuple[float, Array, Array, float]:
    """Loss and its gradients by image, text and scale: with targets T, d/dlogits of cross-entropy is softmax - T."""
    B = len(image)
    names = np.arange(B) if labels is None else np.array(labels)
    target = (names[:, None] == names[None, :]).astype(float)
    target /= target.sum(axis=1, keepdims=True)
    cosine = image @ text.T
    logits = scale * cosine

    def half(logits: Array) -> tuple[float, Array]:
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax = exp / exp.sum(axis=1, keepdims=True)
        return float(-(target * np.log(softmax)).sum() / B), (softmax - target) / B

    (by_image, d_image), (by_text, d_text) = half(logits), half(logits.T)
    d_logits = (d_image + d_text.T) / 2
    return (
        (by_image + by_text) / 2,
        scale * d_logits @ text,
        scale * d_logits.T @ image,
        float((d_logits * cosine).sum()),
    )


def vectors(B: int = 7, D: int = 5, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(2, B, D))
    return tuple(both / np.linalg.norm(both, axis=2, keepdims=True))  # pyright: ignore[reportReturnType]


def as_tensor(labels: list[int] | None) -> Tensor | None:
    return None if labels is None else torch.tensor(labels)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_loss_and_gradients(labels: list[int] | None, scale: float) -> None:
    image, text = vectors()
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (image, text, scale)]
    loss = InfoNCE()(*inputs, as_tensor(labels))
    loss.backward()
    expected, *gradients = reference(image, text, scale, labels)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    for tensor, gradient in zip(inputs, gradients, strict=True):
        assert tensor.grad is not None
        assert np.allclose(tensor.grad.numpy(), gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("labels", [None, LABELS["duplicates"]], ids=["no labels", "duplicates"])
def test_the_hand_derived_gradients_agree_with_finite_differences(labels: list[int] | None) -> None:
    inputs = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (*vectors(), 5.0))
    assert torch.autograd.gradcheck(lambda *x: InfoNCE()(*x, as_tensor(labels)), inputs)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_float32_is_near(labels: list[int] | None) -> None:
    image, text = vectors(seed=1)
    loss = InfoNCE()(torch.tensor(image).float(), torch.tensor(text).float(), 100.0, as_tensor(labels))
    assert loss.item() == pytest.approx(reference(image, text, 100.0, labels)[0], rel=1e-5)


def test_distinct_labels_change_nothing() -> None:
    image, text = (torch.tensor(x) for x in vectors())
    assert InfoNCE()(image, text, 20.0).item() == pytest.approx(
        InfoNCE()(image, text, 20.0, torch.arange(7) * 3 + 1).item(), rel=1e-12
    )


def test_the_order_of_a_batch_does_not_matter() -> None:
    image, text = (torch.tensor(x) for x in vectors())
    labels, order = torch.tensor([3, 1, 3, 7, 1, 1, 9]), torch.tensor([4, 2, 6, 0, 1, 5, 3])
    assert InfoNCE()(image[order], text[order], 20.0, labels[order]).item() == pytest.approx(
        InfoNCE()(image, text, 20.0, labels).item(), rel=1e-12
    )


def test_the_floor_is_the_mean_logarithm_of_the_positives() -> None:
    classes = torch.tensor([0, 0, 0, 1, 2, 2])
    vectors_BD = torch.eye(3, dtype=torch.float64)[classes]
    floor = sum(math.log(n) for n in (3, 3, 3, 1, 2, 2)) / 6
    assert InfoNCE()(vectors_BD, vectors_BD, 60.0, classes).item() == pytest.approx(floor, rel=1e-9)


def test_a_duplicate_caption_is_no_negative() -> None:
    # Two pictures of one thing, and a third of another: with perfect vectors, the labelled loss is at its floor
    # (ln 2 for the two, whose target is shared), and its gradient does not push the twins apart.
    twin = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64, requires_grad=True)
    text = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    labelled = InfoNCE()(twin, text, 50.0, torch.tensor([8, 8, 3]))
    assert labelled.item() == pytest.approx(2 / 3 * math.log(2), rel=1e-9)
    labelled.backward()
    assert twin.grad is not None
    assert twin.grad.abs().max() < 1e-9


@pytest.mark.parametrize("B", [1, 2, 64])
@pytest.mark.parametrize("labelled", [False, True])
def test_chance_is_the_logarithm_of_the_batch(B: int, labelled: bool) -> None:
    # All vectors the same: every text is as likely.
    same = torch.ones(B, 4) / 2
    loss = InfoNCE()(same, same, 14.3, torch.arange(B) if labelled else None)
    assert loss.item() == pytest.approx(math.log(B), abs=1e-5)


def test_right_partners_lose_less_than_wrong_ones() -> None:
    image = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert InfoNCE()(image, image, 30.0) < 0.1 < InfoNCE()(image, image.roll(1, 0), 30.0)


def test_large_logits_do_not_overflow() -> None:
    image, text = (torch.tensor(x).float() for x in vectors())
    assert torch.isfinite(InfoNCE()(image, text, 1e4, torch.tensor([1, 1, 2, 3, 4, 5, 6])))


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((4,), (4,)), ((2, 3, 4), (2, 3, 4))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"needs two \[B, D\] of one shape, got \["):
        InfoNCE()(torch.zeros(shapes[0]), torch.zeros(shapes[1]), 1.0)


@pytest.mark.parametrize("more_labels", [None, [3, 9, 8, 4]], ids=["negatives", "some positives"])
def test_more_texts_stand_beside_the_batch_for_the_images_only(more_labels: list[int] | None) -> None:
    image, text = vectors()
    more, labels, scale = vectors(B=4, seed=2)[0], [4, 9, 4, 2, 9, 4, 7], 9.0
    inputs = [torch.tensor(x, dtype=torch.float64) for x in (image, text, scale)]
    loss = InfoNCE()(*inputs, torch.tensor(labels), torch.tensor(more), as_tensor(more_labels))

    # The text's half is as without them; an image is matched against all texts, sharing its target among its positives.
    columns = np.array(labels + (more_labels or [-1] * 4))
    target = (np.array(labels)[:, None] == columns[None]).astype(float)
    target /= target.sum(axis=1, keepdims=True)
    logits = scale * image @ np.concatenate([text, more]).T
    by_image = -(target * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))).sum() / 7
    own = scale * text @ image.T
    own_target = target[:, :7] / target[:, :7].sum(axis=1, keepdims=True)
    by_text = -(own_target * (own - np.log(np.exp(own).sum(axis=1, keepdims=True)))).sum() / 7
    assert loss.item() == pytest.approx((by_image + by_text) / 2, rel=1e-12)
    assert loss.item() != pytest.approx(reference(image, text, scale, labels)[0], rel=1e-3)


def test_rows_that_agree_in_any_of_their_labels_are_positives() -> None:
    generator = torch.Generator().manual_seed(5)
    image, text = (torch.nn.functional.normalize(torch.randn(4, 6, generator=generator), dim=1) for _ in range(2))
    # Row 1 shares its first label with row 0 and its second with row 2; rows 0 and 2 share none.
    labels = torch.tensor([[1, 10], [1, 11], [2, 11], [3, 12]])
    positive = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.float32)
    logits = 7.0 * image @ text.T
    expected = 0.0
    for scores in (logits, logits.T):
        expected -= float((positive * scores.log_softmax(dim=1)).sum(dim=1).div(positive.sum(dim=1)).mean()) / 2
    assert float(InfoNCE()(image, text, 7.0, labels)) == pytest.approx(expected, rel=1e-5)
    more = torch.nn.functional.normalize(torch.randn(2, 6, generator=generator), dim=1)
    none = InfoNCE()(image, text, 7.0, labels, more)
    some = InfoNCE()(image, text, 7.0, labels, more, torch.tensor([[9, 12], [8, 8]]))
    assert float(none) != pytest.approx(float(some), abs=1e-4)


@pytest.mark.parametrize("labels", [None, LABELS["duplicates"]], ids=["no labels", "duplicates"])
@pytest.mark.parametrize("more", [False, True], ids=["batch", "further texts"])
def test_smoothing_and_further_texts_against_the_definition(labels: list[int] | None, more: bool) -> None:
    marks = torch.arange(7) if labels is None else torch.tensor(labels)
    further, further_marks = torch.tensor(vectors(B=4, seed=2)[0]), torch.tensor([9, 100, 101, 4])

    def plain(image: Tensor, text: Tensor, scale: Tensor, extra: Tensor) -> Tensor:
        total = image.new_zeros(())
        by_image = scale * image @ (torch.cat([text, extra]) if more else text).T
        columns = torch.cat([marks, further_marks]) if more else marks
        for logits, other in ((by_image, columns), (scale * text @ image.T, marks)):
            target = (marks[:, None] == other[None]).double()
            target = 0.9 * target / target.sum(dim=1, keepdim=True) + 0.1 / target.shape[1]
            total = total - (target * logits.log_softmax(dim=1)).sum() / 14
        return total

    ours, theirs = (
        [x.clone().requires_grad_() for x in (*map(torch.tensor, vectors()), torch.tensor(9.0).double(), further)]
        for _ in range(2)
    )
    image, text, scale, extra = ours
    given = (extra, further_marks) if more else (None, None)
    loss = InfoNCE(smoothing=0.1)(image, text, scale, None if labels is None and not more else marks, *given)
    expected = plain(*theirs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    (2 * loss).backward()
    (2 * expected).backward()
    for one, other in zip(ours[: 4 if more else 3], theirs, strict=False):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_needs_no_gradient_gets_none(frozen: int) -> None:
    def leaves() -> list[Tensor]:
        made = [torch.tensor(x, dtype=torch.float64) for x in (*vectors(), 9.0)]
        return [leaf.requires_grad_(n != frozen) for n, leaf in enumerate(made)]

    some, every = leaves(), [leaf.detach().requires_grad_() for leaf in leaves()]
    InfoNCE()(*some).backward()
    InfoNCE()(*every).backward()
    for n, (one, other) in enumerate(zip(some, every, strict=True)):
        assert (one.grad is None) == (n == frozen)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_half_precision_is_summed_in_float32() -> None:
    image, text = (torch.tensor(x).bfloat16() for x in vectors())
    loss = InfoNCE()(image, text, 20.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(InfoNCE()(image.double(), text.double(), 20.0).item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_that_is_no_share_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing is a share"):
        InfoNCE(smoothing)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a label for each of the 3 rows"):
        InfoNCE()(torch.zeros(3, 4), torch.zeros(3, 4), 1.0, torch.tensor([1, 2]))
