"""What a recipe and its pairs make: model, optimizer, loader, stepper and average, at the start or at some step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightword.data.augment import Augment
from sightword.data.cut import Cut, measure_cut
from sightword.data.loader import Loader
from sightword.data.long_texts import with_long
from sightword.data.masked_pairs import MaskedPairs
from sightword.data.pairs import Source
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.towers.dual import DualEncoder
from sightword.towers.plain import plain_weights
from sightword.training.allocator import give_memory_back
from sightword.training.budget import Budget, probe_batch, saves_memory, spare_memory, step_budget
from sightword.training.build import Built, build
from sightword.training.compiling import compile_towers
from sightword.training.data import SCENES, companion_texts, training_texts
from sightword.training.dense import DenseStepper, dense_spec, with_labels
from sightword.training.fit import fit_projection
from sightword.training.inversion import InversionStepper, inverts
from sightword.training.model_recipe import PretrainedImage, StartedModel
from sightword.training.optimizer import Average
from sightword.training.randomness import random_state, set_random_state
from sightword.training.ranks import ALONE, World
from sightword.training.recipe import Recipe
from sightword.training.seen import is_seen_once, see_all
from sightword.training.shards import Saved, fitted, fitted_optimizer, gathered, own, whole
from sightword.training.start import Start, load_start
from sightword.training.step import Stepper
from sightword.training.teacher import make_teacher
from sightword.training.views import Views

_COUNTED = 50_000  # texts that are looked at for how much of them is cut
TEACHER = "teacher"  # the folder of its vectors in a run's own
PICTURES = "pictures"  # the same of the pictures' vectors, where the image tower is locked


@dataclass
class Setup:
    """All that steps change is in `state()`. guide: the checkpoint of the teacher. begun_as: the weights of the start,
    on the CPU, where the end is to be mixed with them. cut: how much of long texts is not read, where they are trained.
    """

    built: Built
    loader: Loader
    views: Views
    stepper: Stepper
    average: Average | None
    device: torch.device
    budget: Budget
    recipe: Recipe
    guide: Start | None
    begun_as: Mapping[str, Tensor]
    cut: Cut | None

    def teach(self, out: Path) -> None:
        """From now on, each step asks the recipe's teacher, whose vectors are then in the run's folder `out`, or where
        the recipe keeps them. They are made where they are not there yet."""
        asked = self.recipe.training.teacher
        if asked and self.guide:
            cache = Path(asked.cache) if asked.cache else out / TEACHER
            dim = self.built.contract.architecture.embed_dim
            source = self.loader.source
            data = self.recipe.data
            texts = training_texts(source, data.templates, data.first_text < 1, most=None)
            # A start that teaches sees the pictures as the run does while their tower is locked.
            mine = self.stepper.seen if self.guide.fingerprint == self.built.origin().get("start") else None
            self.stepper.teacher = make_teacher(
                asked, self.guide, source, texts, cache, dim, str(self.device), self.stepper.world.group,
                mine.vectors if mine else None,
            )  # fmt: skip

    def look(self, out: Path) -> None:
        """From now on, pictures that are seen once and for all are not opened any more (`training.seen`). Their vectors
        are in the run's folder `out`, or where the recipe keeps them, and made where they are not there yet."""
        recipe, source = self.recipe, self.loader.source
        if not is_seen_once(recipe, source, self.stepper.sharded):
            return
        assert isinstance(recipe.model, StartedModel)
        # The weights, not their average: these are the start's, to the bit.
        model = self.finished(plain_weights(self.model, self.model.state_dict()))
        embedder = Embedder(model, self.built.contract, self.built.tokenizer, device=str(self.device), decode="exact")
        folder = Path(recipe.model.image.vectors) if recipe.model.image.vectors else out / PICTURES
        self.stepper.seen = see_all(embedder, self.built.origin()["start"], source, folder)
        self.loader.unread = self.stepper.seen.vectors.empty()

    @property
    def model(self) -> DualEncoder:
        return self.stepper.model

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.stepper.optimizer.state_dict(),
            "average": self.average.state if self.average else {},
            "random": random_state(self.device),
            "origin": self.built.origin(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` after `step` steps, of any number of ranks. The model was set up with its weights."""
        optimizer = self.stepper.optimizer
        optimizer.load_state_dict(fitted_optimizer(state["optimizer"], optimizer))
        if self.average:
            self.average.steps = state["step"]
            for name, tensor in self.average.state.items():
                own(tensor).copy_(own(fitted(state["average"][name], tensor)))
        set_random_state(state["random"], self.device)

    def weights(self) -> dict[str, Tensor]:
        """Those that are the model: the average where there is one, as a checkpoint has them. Where the
        ranks share them all must ask, and the first gets them."""
        found = self.gathered(self.model.state_dict() | (self.average.state if self.average else {}))
        return plain_weights(self.model, found) if found else {}

    def gathered(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state of the model with whole tensors: see `shards.gathered`."""
        stepper = self.stepper
        return gathered(state, stepper.world.first) if stepper.sharded else dict(state)

    def finished(self, weights: Mapping[str, Tensor]) -> DualEncoder:
        """A model of these weights, apart from that in training."""
        model = DualEncoder(self.built.contract.architecture)
        model.load_state_dict(weights)
        return model


def set_up(
    recipe: Recipe,
    pairs: Source,
    device: torch.device,
    weights: Mapping[str, Saved] | None = None,
    origin: Mapping[str, str] | None = None,
    world: World = ALONE,
) -> Setup:
    """weights: to go on with; None begins with those of the recipe. origin: the `state()`'s, to be checked. Raises
    RequestError where a checkpoint that the run began from is another now, and where a step would not fit into memory.
    """
    training = recipe.training
    if device.type == "cpu" and saves_memory(training):
        give_memory_back()
    dense = isinstance(recipe.model, StartedModel) and recipe.model.dense is not None
    if "long" in training.kinds:
        pairs = with_long(pairs)
    # The labels of a dense training are met on the way, and texts with gaps are made there.
    met = dense or inverts(recipe)
    few = {"most": SCENES} if recipe.data.source == "scenes" else {}
    texts = [] if met else training_texts(pairs, recipe.data.templates, recipe.data.first_text < 1, **few)
    others = companion_texts(pairs, (*training.kinds, *training.listed), recipe.data.templates, **few)
    for kind, found in others.items():
        if not found:
            what = "training.tag_loss" if kind == "tags" else f"training.loss = {training.loss!r}"
            raise RequestError(
                f"{what} needs pairs with texts that are {kind!r} (docs/formats.md), and none of these has one"
            )
    built = build(recipe, [*texts, *chain(*others.values())])
    listed = {kind: others.pop(kind) for kind in training.listed}
    guide = load_start(training.teacher.name) if training.teacher else None
    if guide:
        built = built.saying(teacher=guide.provenance())
    if origin is not None:
        built.check_origin(origin)
    cut = None
    if "long" in others or (isinstance(recipe.model, StartedModel) and recipe.model.stretch):
        cut = _cut(built, [*texts, *chain(*others.values())])
        built = built.saying(cut=asdict(cut))
    begun_as: dict[str, Tensor] = {}
    if training.wise:
        plain = plain_weights(built.model, built.model.state_dict())
        # A dense part is always new, and its first weights are noise.
        begun_as = {name: weight.clone() for name, weight in plain.items() if not name.startswith("dense.")}
    model = built.model.to(device)
    stepper = make_stepper(built, recipe, pairs, device, world)
    spec = (
        stepper.spec(dense_spec(built.contract))
        if isinstance(stepper, InversionStepper)
        else dense_spec(built.contract)
    )
    if not stepper.sharded:
        model.lay_out()  # FSDP takes no weights that are laid out otherwise than usual
    if weights is not None:
        model.load_state_dict({name: whole(saved) for name, saved in weights.items()})
    loader = Loader(
        source=pairs,
        tokenizer=built.tokenizer,
        spec=spec,
        augment=recipe.augment,
        batch_size=training.batch_size,
        seed=recipe.seed,
        templates=recipe.data.templates,
        first=recipe.data.first_text,
        workers=recipe.data.workers,
        lanes=recipe.data.lanes,
        kinds=training.kinds,
        listed=training.listed,
        rank=world.rank,
        ranks=world.size,
    )
    if stepper.encoders.kept:
        stepper.encoders.kept.learn(texts, built.tokenizer, device)
    if training.bank:
        stepper.hold_against(sorted({pair.name for pair in pairs}), built.tokenizer)
    if isinstance(stepper, DenseStepper) and training.patch_loss:
        names = pairs.masked.vocabulary if isinstance(pairs, MaskedPairs) else ()
        if not names:
            raise RequestError("training.patch_loss needs pictures that say which labels there are in all")
        stepper.name_patches(names)
    probe = probe_batch(spec, built.tokenizer, texts, device, others, listed)
    probe = with_labels(probe, pairs[0].texts) if dense else probe
    probe = stepper.with_texts(probe) if isinstance(stepper, InversionStepper) else probe
    budget = step_budget(stepper, probe, training, loader.ahead if loader.workers else 0)
    budget.check(training, world.size)
    if not is_seen_once(recipe, pairs, stepper.sharded):
        budget = keep_pictures(loader, recipe, budget, device)
    if weights is None and isinstance(recipe.model.image, PretrainedImage) and recipe.model.image.fit:
        # One look at every picture as it is, without augmentation.
        still = replace(loader, augment=Augment(), templates=("{}",), first=1.0, rank=0, ranks=1)
        fit_projection(model, still, recipe.model.image.fit, device, stepper.encoders.encode_text)
    views = Views(built.contract.architecture.image, training)
    compile_towers(stepper, probe, views, training.batch_size)
    stepper.begin()
    average = Average(model, training.ema) if training.ema else None
    return Setup(built, loader, views, stepper, average, device, budget, recipe, guide, begun_as, cut)


def _cut(built: Built, texts: Sequence[str]) -> Cut:
    """Of some of them, where there are many."""
    return measure_cut(built.tokenizer, texts[:: -(-len(texts) // _COUNTED) or 1])


def make_stepper(built: Built, recipe: Recipe, pairs: Source, device: torch.device, world: World) -> Stepper:
    """What takes the steps of a recipe."""
    model, contract = built.model, built.contract
    if contract.architecture.dense is not None:
        return DenseStepper(model, contract, recipe, device, world, built.tokenizer)
    if inverts(recipe):
        return InversionStepper(model, contract, recipe, device, world, built.tokenizer, pairs)
    return Stepper(model, contract, recipe, device, world)


def keep_pictures(loader: Loader, recipe: Recipe, budget: Budget, device: torch.device) -> Budget:
    """The budget with the decoded pictures that the loader keeps from now on, as far as that pays and there is room."""
    if recipe.training.steps * recipe.training.batch_size <= len(loader.source):
        return budget  # hardly a picture is seen twice
    spare = spare_memory(budget, device)
    most = recipe.data.keep << 20
    kept = loader.keep_pictures(most if spare is None else min(most, spare // 2))
    return budget if device.type == "cuda" else replace(budget, kept=kept)
