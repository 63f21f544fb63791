"""From one family to another, with a report that the model stayed the same.

What was written is read back and compared with the model that it came from before it takes its place: a folder that
computes something else never appears.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.families import FAMILIES, find_family, load_folder
from sightword.checkpoints.hub import locate
from sightword.data.pairs import Tokens
from sightword.data.tokenizer import TextSpec, Tokenizer
from sightword.errors import RequestError, SightwordError
from sightword.files import refuse_existing, whole_folder
from sightword.towers.dual import DualEncoder

Target: TypeAlias = Literal["native", "open_clip", "transformers"]

PARITY_LIMIT = 1e-4
_INPUTS = 8
# Words, case, marks, digits, letters of other scripts: what tokenizers differ in.
_TEXTS = ("a photo of a cat", "Hello, World!! It's 2021.", "café ÉCOLE 你好", "snake_case  two spaces", "")
_CLEAN_TEXTS = ("a photo of a cat", "hello world it is 2021", "café école 你好", "")


@dataclass(frozen=True, slots=True)
class Conversion:
    """source, to: families. image, text: the largest absolute difference of a coordinate of unit vectors, on random
    inputs, in fp32. changed: how the target prepares inputs otherwise, because its files cannot say it as it was."""

    folder: Path
    source: str
    to: str
    image: float
    text: float
    changed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "model": str(self.folder),
            "from": self.source,
            "to": self.to,
            "max_difference": {"image": self.image, "text": self.text},
            "limit": PARITY_LIMIT,
            "changed": list(self.changed),
        }


def convert(model: str | Path, to: Target, out: str | Path) -> Conversion:
    """Write the checkpoint `model`, a folder or a repository of the Hub, as a folder of the family `to` at `out`, which
    must not be there yet.

    Raises RequestError for what that family cannot express, and SightwordError where the written model differs by more
    than PARITY_LIMIT; `out` is then not there.
    """
    if to not in FAMILIES:
        raise RequestError(f"no family is called {to!r}; there are {', '.join(FAMILIES)}")
    out = Path(out)
    refuse_existing(out)
    folder, origin = locate(model)
    source = find_family(folder)
    before, contract, tokenizer = load_folder(folder, origin)
    with whole_folder(out) as temporary:
        FAMILIES[to].write(temporary, before, contract, tokenizer)
        after, contract_after, tokenizer_after = FAMILIES[to].load(temporary)
        image, text = parity(before, after, contract, tokenizer.vocabulary)
        # Written so that NaN does not pass.
        if not (image <= PARITY_LIMIT and text <= PARITY_LIMIT and _logits(before) == _logits(after)):
            raise SightwordError(
                f"{out}: not written: read back, the model differs (pictures by {image:.1e}, texts by {text:.1e}; "
                f"at most {PARITY_LIMIT:.0e} is allowed)"
            )
        # SigLIP's cleaning may move into tokenizer.json: then only texts that no cleaning touches can be compared.
        moved = not before.text.trims and contract.text.clean != contract_after.text.clean
        texts = _CLEAN_TEXTS if moved else _TEXTS
        if _ids(tokenizer, texts) != _ids(tokenizer_after, texts):
            raise SightwordError(f"{out}: not written: read back, its tokenizer splits texts in another way")
    return Conversion(out, source, to, image, text, _changed(contract, contract_after))


def conversions(folder: str | Path) -> list[Conversion]:
    """What `convert` makes of a folder, for each other library that can hold it; nothing is kept."""
    made: list[Conversion] = []
    targets: tuple[Target, ...] = get_args(Target)
    for to in targets:
        if to not in ("native", find_family(folder)):
            with tempfile.TemporaryDirectory(prefix="sightword-convert-") as temporary, suppress(RequestError):
                made.append(convert(folder, to, Path(temporary) / to))
    return made


@torch.inference_mode()
def parity(one: DualEncoder, other: DualEncoder, contract: Contract, vocabulary: int) -> tuple[float, float]:
    """The largest absolute difference between the unit vectors of two models: of pictures, of texts.

    Pictures are normal noise, texts are random ids below `vocabulary` of every length, the same in every call.
    """
    generator = torch.Generator().manual_seed(0)
    size, spec = contract.image.size, contract.text
    images = torch.randn(_INPUTS, 3, size, size, generator=generator)
    tokens = random_texts(spec, vocabulary, _INPUTS, spec.context, generator)
    image = one.encode_image(images) - other.encode_image(images)
    text = one.encode_text(tokens) - other.encode_text(tokens)
    return float(image.abs().max()), float(text.abs().max())


def random_texts(
    spec: TextSpec, vocabulary: int, rows: int, width: int, generator: torch.Generator | None = None
) -> Tokens:
    """Random ids below `vocabulary`, framed as texts of every length up to `width` and padded to it."""
    ids = torch.randint(0, vocabulary, (rows, width), generator=generator)
    lengths = torch.linspace(min(2, width), width, rows).long()
    lengths[-1] = width
    if spec.start_id is not None:
        ids[:, 0] = spec.start_id
    for row, length in enumerate(lengths.tolist()):
        ids[row, length - 1] = spec.end_id
        ids[row, length:] = spec.pad_id
    return Tokens(ids, lengths)


def _logits(model: DualEncoder) -> tuple[float, float | None]:
    bias = model.logit_bias
    return float(model.log_scale.detach()), None if bias is None else float(bias.detach())


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """What the tokenizer's file makes of some texts; how they are cleaned before that is the contract's to say."""
    tokens = Tokenizer(tokenizer.engine, tokenizer.spec.model_copy(update={"clean": "none"}))(texts, truncate=True)
    return [ids[:length] for ids, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True)]


def _changed(before: Contract, after: Contract) -> tuple[str, ...]:
    # What pads a text behind its end makes no difference where the tower does not see it.
    silent = {"pad_id"} if before.architecture.text.trims else set[str]()
    pairs = [("image", before.image, after.image), ("text", before.text, after.text)]
    return tuple(
        f"{name}.{field}: {getattr(old, field)} becomes {getattr(new, field)}"
        for name, old, new in pairs
        for field in type(old).model_fields
        if field not in silent and getattr(old, field) != getattr(new, field)
    )
