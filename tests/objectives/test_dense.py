"""The loss of pixels against the whole computation; what does not count."""

import pytest
import torch
import torch.nn.functional as F

from sightword.data.pairs import VOID
from sightword.objectives import dense
from sightword.objectives.dense import dense_cross_entropy, named_patches, patch_cross_entropy


def example() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    scores = torch.randn(5, 4, 6, 7, requires_grad=True)
    masks = torch.randint(-1, 4, (5, 12, 14), dtype=torch.int16)
    return scores, masks


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, 2 * 4 * 12 * 14, 1 << 23])
def test_it_is_the_cross_entropy_of_enlarged_scores(monkeypatch: pytest.MonkeyPatch, at_once: int, smoothing: float):
    monkeypatch.setattr(dense, "_NUMBERS", at_once)
    scores, masks = example()
    large = F.interpolate(scores, size=(12, 14), mode="bilinear", align_corners=True)
    expected = F.cross_entropy(large, masks.long(), ignore_index=VOID, reduction="sum", label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(3 * expected, scores)
    loss = dense_cross_entropy(scores, masks, smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * loss, scores)[0], gradient)


def test_void_pixels_give_no_gradient():
    scores, masks = example()
    masks[2] = VOID
    masks[3] = VOID
    masks[3, 0, 0] = 1  # a corner, which one cell of the scores alone reaches
    dense_cross_entropy(scores, masks).backward()
    assert scores.grad is not None
    assert not scores.grad[2].any()
    assert scores.grad[3].any()
    assert not scores.grad[3, :, 1:].any()
    assert dense_cross_entropy(scores, torch.full_like(masks, VOID)) == 0


def test_what_all_labels_share_does_not_matter():
    scores, masks = example()
    shared = scores.detach() + 5 * torch.randn(5, 1, 6, 7)
    torch.testing.assert_close(dense_cross_entropy(shared, masks), dense_cross_entropy(scores, masks))


def test_half_precision_is_summed_in_float32():
    scores, masks = example()
    half = scores.detach().bfloat16().requires_grad_()
    loss = dense_cross_entropy(half, masks)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, dense_cross_entropy(half.detach().float(), masks))
    loss.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_patches_are_named_among_all_names():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 8, 2, 3, generator=generator, requires_grad=True)
    names = torch.nn.functional.normalize(torch.randn(7, 8, generator=generator), dim=1)
    mine = torch.tensor([[0, 3, 5], [6, 1, 2]])
    masks = torch.randint(-1, 3, (2, 8, 9), generator=generator)
    named = named_patches(patches, names[mine], names, torch.tensor(9.0))
    loss = patch_cross_entropy(named, masks)
    # By hand: each pixel's name, from its patch, among all seven.
    unit = torch.nn.functional.normalize(patches, dim=1)
    logits = 9 * torch.einsum("mc,bchw->bmhw", names, unit)
    enlarged = logits.repeat_interleave(4, dim=2).repeat_interleave(3, dim=3)
    target = torch.where(masks < 0, -1, mine.gather(1, masks.clamp(min=0).flatten(1)).view_as(masks))
    wanted = torch.nn.functional.cross_entropy(enlarged, target, ignore_index=-1, reduction="sum")
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(one, patches, retain_graph=True)[0] for one in (loss, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
