"""Omni-NegCLIP's, NegCLIP's and CoN-CLIP's losses against the formulas, written out plainly in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.data.pairs import NO_LABEL
from sightword.objectives import HardNegatives, InfoNCE, NegationWeights, OmniNegCLIP

B, D = 7, 5
ALL = torch.arange(100, 100 + B)
SOME = torch.tensor([100, NO_LABEL, 102, 103, NO_LABEL, 105, 106])
PUBLISHED = NegationWeights()


def vectors(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Image, text, denied, absent."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(4, B, D, generator=generator, dtype=torch.float64)
    return [F.normalize(one, dim=1).to(dtype).requires_grad_() for one in drawn]


def entropy(logits: Tensor) -> Tensor:
    """The mean of -log softmax at place i of row i."""
    rows = torch.arange(len(logits))
    return -(logits - logits.logsumexp(dim=1, keepdim=True))[rows, rows].mean()


def symmetric(one: Tensor, other: Tensor, scale: Tensor) -> Tensor:
    return (entropy(scale * one @ other.T) + entropy(scale * other @ one.T)) / 2


def presence(image: Tensor, text: Tensor, denied: Tensor, scale: Tensor, there: Tensor, pairwise: float) -> Tensor:
    among_all = entropy(scale * image @ torch.cat([text, denied[there]]).T)
    of_two = scale * torch.stack([(image * text).sum(1), (image * denied).sum(1)], dim=1)[there]
    choice = F.cross_entropy(of_two, torch.zeros(len(of_two), dtype=torch.int64))
    return (among_all + entropy(scale * text @ image.T) + pairwise * choice) / 3


def absence(
    image: Tensor, text: Tensor, absent: Tensor, scale: Tensor, there: Tensor, weights: NegationWeights
) -> Tensor:
    hinge = torch.stack([max(text[b] @ absent[b] + weights.margin, torch.zeros(())) for b in range(B) if there[b]])
    negated = symmetric(image[there], absent[there], scale)
    return negated + weights.original * symmetric(image, text, scale) + weights.text * hinge.mean()


def scale_of(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def assert_same(loss: Tensor, expected: Tensor, found: list[Tensor], wanted: list[Tensor], within: float) -> None:
    assert loss.item() == pytest.approx(expected.item(), rel=within)
    loss.backward()
    expected.backward()
    for one, other in zip(found, wanted, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad.to(one.dtype), rtol=within, atol=within)


@pytest.mark.parametrize(
    "weights",
    [
        PUBLISHED,
        replace(PUBLISHED, pairwise=0.0, presence=1.5),
        replace(PUBLISHED, stage2=0.0),
        replace(PUBLISHED, presence=0.0),
        replace(PUBLISHED, text=3.0, margin=0.2, original=0.5, stage2=2.0),
        replace(PUBLISHED, text=0.0, original=0.0),
    ],
    ids=["published", "no choice", "presence alone", "absence alone", "other weights", "no hinge"],
)
@pytest.mark.parametrize("told", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("labelled", [False, True])
def test_omni_neg_clip(weights: NegationWeights, told: Tensor, labelled: bool):
    found, wanted = [*vectors(), scale_of(12.0)], [*vectors(), scale_of(12.0)]
    image, text, denied, absent, scale = found
    labels = torch.arange(2 * B).reshape(B, 2) if labelled else None
    loss = OmniNegCLIP(weights)(
        image, text, scale, labels, (denied, told) if weights.presence else None, (absent, told.flip(0))
    )
    image, text, denied, absent, scale = wanted
    there = told != NO_LABEL
    expected = torch.zeros((), dtype=torch.float64)
    if weights.presence:
        expected = expected + weights.presence * presence(image, text, denied, scale, there, weights.pairwise)
    if weights.stage2:
        expected = expected + weights.stage2 * absence(image, text, absent, scale, there.flip(0), weights)
    assert_same(loss, expected, found, wanted, 1e-10)


def test_float32_is_near():
    found, wanted = [*vectors(1, torch.float32), scale_of(100.0, torch.float32)], [*vectors(1), scale_of(100.0)]
    image, text, denied, absent, scale = found
    loss = OmniNegCLIP()(image, text, scale, None, (denied, ALL), (absent, ALL))
    image, text, denied, absent, scale = wanted
    there = ALL > 0
    expected = presence(image, text, denied, scale, there, 1.0) + absence(image, text, absent, scale, there, PUBLISHED)
    assert_same(loss, expected, found, wanted, 1e-4)


@pytest.mark.parametrize("told", [ALL, SOME], ids=["all", "some"])
def test_hard_negatives_are_columns_of_the_pictures_alone(told: Tensor):
    found, wanted = [*vectors()[:3], scale_of(9.0)], [*vectors()[:3], scale_of(9.0)]
    image, text, negative, scale = found
    loss = HardNegatives()(image, text, scale, None, negative, told)
    image, text, negative, scale = wanted
    columns = torch.cat([text, negative[told != NO_LABEL]])
    expected = (entropy(scale * image @ columns.T) + entropy(scale * text @ image.T)) / 2
    assert_same(loss, expected, found, wanted, 1e-10)


def test_a_hard_negative_that_is_a_caption_of_the_batch_is_none():
    # What is false of one picture is the very caption of another: both texts are right for that one.
    image, text, negative, _ = (one.detach() for one in vectors())
    labels = torch.arange(2 * B).reshape(B, 2)
    told = ALL.clone()
    told[0] = labels[3, 1]
    negative[0] = text[3]
    loss = HardNegatives()(image, text, 9.0, labels, negative, told)
    columns = torch.cat([labels, torch.stack([told, told], dim=1)])
    target = (labels[:, None] == columns[None]).any(dim=2).double()
    assert target[3].sum() == 2
    log = (9.0 * image @ torch.cat([text, negative]).T).log_softmax(dim=1)
    by_image = -(target / target.sum(dim=1, keepdim=True) * log).sum() / B
    assert loss.item() == pytest.approx(((by_image + entropy(9.0 * text @ image.T)) / 2).item(), rel=1e-12)


@pytest.mark.parametrize("told", [ALL, SOME])
def test_no_text_of_a_kind_at_all(told: Tensor):
    image, text, denied, absent = vectors()
    nothing = torch.full((B,), NO_LABEL)
    plain = InfoNCE()(image, text, 9.0)
    only = OmniNegCLIP(NegationWeights(text=0.5))(image, text, 9.0, None, (denied, nothing), (absent, nothing))
    assert only.item() == pytest.approx((2 / 3 * plain + plain).item(), rel=1e-12)
    only.backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert denied.grad is None or not denied.grad.any()


def test_chance():
    # All vectors the same: among 2 B texts, among B pictures, and of two.
    same = torch.ones(B, D, dtype=torch.float64) / D**0.5
    loss = OmniNegCLIP(NegationWeights(stage2=0.0))(same, same, 10.0, None, (same, ALL), None)
    assert loss.item() == pytest.approx((math.log(2 * B) + math.log(B) + math.log(2)) / 3, rel=1e-9)


def test_the_hinge_ends_where_the_texts_are_apart():
    image, text, *_ = vectors()
    weights = NegationWeights(presence=0.0, original=0.0, margin=0.0)
    apart = OmniNegCLIP(weights)(image, text, 9.0, None, None, (-text, ALL))
    assert apart.item() == pytest.approx(InfoNCE()(image, -text, 9.0).item(), rel=1e-12)
    near = OmniNegCLIP(weights)(image, text, 9.0, None, None, (text, ALL))
    assert near.item() == pytest.approx(InfoNCE()(image, text, 9.0).item() + 1, rel=1e-12)


@pytest.mark.parametrize("told", [ALL, SOME], ids=["all", "some"])
def test_each_true_text_is_chosen_among_the_false_ones(told: Tensor):
    extra = F.normalize(torch.randn(B, D, generator=torch.Generator().manual_seed(9), dtype=torch.float64), dim=1)
    found, wanted = (
        [*vectors(), extra.clone().requires_grad_(), scale_of(12.0)],
        [*vectors(), extra.clone().requires_grad_(), scale_of(12.0)],
    )
    image, text, denied, absent, foils, scale = found
    weights = NegationWeights(presence=0.0, stage2=0.0, choice=3.0)
    others = told.flip(0)
    loss = OmniNegCLIP(weights)(image, text, scale, None, (denied, told), (absent, others), (foils, told.roll(1)))
    image, text, denied, absent, foils, scale = wanted
    terms: dict[str, list[Tensor]] = {"text": [], "absent": []}
    for b in range(B):
        false = [denied[b]] * bool(told[b] != NO_LABEL) + [foils[b]] * bool(told.roll(1)[b] != NO_LABEL)
        for name, true in (("text", text[b]), ("absent", absent[b] if others[b] != NO_LABEL else None)):
            if true is not None and false:
                logits = scale * torch.stack([image[b] @ one for one in (true, *false)])
                terms[name].append(-logits.log_softmax(dim=0)[0])
    expected = 3.0 / 2 * sum(torch.stack(some).mean() for some in terms.values())
    assert_same(loss, expected, found, wanted, 1e-10)


def test_questions_of_any_number_of_options() -> None:
    image, *_ = vectors()
    counts = [4, 0, 2, 1, 3, 0, 4]
    options = F.normalize(torch.randn(sum(counts), D, dtype=torch.float64), dim=1).requires_grad_()
    scale, loss, expected, at = scale_of(9.0), OmniNegCLIP(NegationWeights(presence=0, stage2=0, mcq=2.0)), [], 0
    for row, count in enumerate(counts):
        if count:
            logits = scale * options[at : at + count] @ image[row]
            expected.append(F.cross_entropy(logits[None], torch.tensor([0])))
        at += count
    found = loss(image, image, scale, None, None, None, None, (options, torch.tensor(counts)))
    wanted = 2 * torch.stack(expected).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    for ours, theirs in zip(
        *(torch.autograd.grad(one, (image, options, scale)) for one in (found, wanted)), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_without_a_question_there_is_nothing_to_answer() -> None:
    image, *_ = vectors()
    loss = OmniNegCLIP(NegationWeights(presence=0, stage2=0, mcq=2.0))
    nothing = (image.new_zeros(0, D), torch.zeros(B, dtype=torch.int64))
    assert loss(image, image, 9.0, None, None, None, None, nothing) == 0
