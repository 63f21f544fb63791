"""The front door: `sightword.load` gives a Model, an Embedder that also turns words into tools."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sightword.checkpoints.families import find_family, load_folder
from sightword.checkpoints.hub import locate
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import ImageLike
from sightword.data.pairs import DataKind
from sightword.data.slots import COMPOSED
from sightword.embedding import Precision
from sightword.embedding.base import Decode, Vectors
from sightword.embedding.embedder import Embedder, find_device
from sightword.errors import RequestError
from sightword.labels.classifier import Classifier
from sightword.labels.prompts import PLAIN
from sightword.labels.zero_shot import zero_shot
from sightword.towers.dual import DualEncoder

if TYPE_CHECKING:
    from sightword.dense.segmenter import Segmenter
    from sightword.evaluation.runner import Evaluation
    from sightword.evaluation.tasks import Task
    from sightword.towers.patch_rules import Rule


class Model(Embedder):
    """An Embedder with its verbs. Each makes a tool from words."""

    def classifier(self, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
        """A zero-shot classifier. templates: sentences with `{}` for the label; several are averaged."""
        return zero_shot(self, labels, templates)

    def segmenter(
        self,
        labels: Sequence[str] | Mapping[str, Sequence[str]],
        templates: Sequence[str] = PLAIN,
        rule: Rule | None = None,
        short: int | None = None,
        step: int | None = None,
        scale: float | None = None,
        threshold: float | None = None,
        refine: bool = False,
    ) -> Segmenter:
        """What tells for each pixel of a picture which label fits best; see `Segmenter`. labels: {"car": ["car",
        "automobile"]} gives a label several names. Needs no training; a model that was trained on pixels is used as it
        was trained."""
        from sightword.dense.segmenter import Segmenter

        return Segmenter(self, labels, templates, rule, short, step, scale, threshold, refine)

    def compose(
        self, images: ImageLike | Sequence[ImageLike], texts: str | Sequence[str], template: str = COMPOSED
    ) -> Vectors:
        """A picture and what is to be otherwise, to the unit vector [D] by which the picture that is meant is found;
        lists of both, which belong together one by one, to [N, D].

        The model makes a word of the picture, which stands in the template's `$`, and the text in its `{}`: made to be
        compared with vectors of pictures. Raises RequestError for a model that was not trained for that
        (recipes/composed.toml).
        """
        if not isinstance(texts, str):
            return self.embed_composed(self.invert_images(images), texts, template)  # type: ignore[arg-type]
        if isinstance(images, list | tuple):
            raise RequestError(f"one text and {len(images)} pictures: give each picture its text, in a list")
        vector: Vectors = self.embed_composed(self.invert_images([images]), [texts], template)[0]  # type: ignore[list-item]
        return vector

    def push(
        self,
        name: str,
        private: bool | None = None,
        revision: str | None = None,
        results: str | Path | None = None,
    ) -> str:
        """`sightword.push` of this model, in Sightword's own layout."""
        _check_whole(self, "push")
        with tempfile.TemporaryDirectory(prefix="sightword-push-") as temporary:
            save_checkpoint(Path(temporary) / "model", self.model, self.contract, self.tokenizer)
            return push(Path(temporary) / "model", name, private, revision, results)


def load(
    name: str | Path,
    device: str = "auto",
    precision: Precision = "fp32",
    revision: str | None = None,
    decode: Decode = "fast",
    compile: bool = False,
    texts: DataKind | None = None,
) -> Model:
    """Load a checkpoint of any known family: Sightword's own, open_clip's, transformers' CLIPModel and SiglipModel, an
    archive of OpenAI's.

    name: a folder, an archive (`ViT-B-32.pt`, its vocabulary beside it), or a repository of the Hub (`org/name`,
    `org/name@revision`), of which the files that are needed are downloaded once. A `Path` is never a repository.
    revision: a branch, a tag or a commit of the repository. device, precision, decode, compile: as in
    `Embedder`. texts: of a model with learned prefixes, whether its texts are read as `captions` or as `labels`; as
    its contract says if not given (captions, as published). Raises CheckpointError where it cannot be used as it is,
    and RequestError for `texts` without prefixes.
    """
    model, contract, tokenizer = load_folder(*locate(name, revision))
    if texts is not None:
        tokenizer = tokenizer.reading(texts)
        contract = contract.model_copy(update={"text": tokenizer.spec})
    return Model(model, contract, tokenizer, device=device, precision=precision, decode=decode, compile=compile)


def evaluate(
    models: Sequence[Model | str | Path],
    suite: Sequence[str] = (),
    data: str | Path | None = None,
    out: str | Path = "results",
    task: Sequence[Task] = (),
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] | None = None,
    prompts: str | Path | None = None,
) -> Evaluation:
    """Measure models on data sets: every figure with its interval.

    models: loaded, or what `load` takes. suite: names of suites and data sets, or a folder or table of your own;
    without one `embedded`, and for the task `layers` alone its own. data: the folder of the data sets. out: the folder
    of the results, which is gone on with. task: each data set's own without one. progress: called with (pictures done,
    of how many) of each data set. prompts: `choose` to measure also by prompts that are chosen on each data set's
    validation pictures, or a file with the templates to choose among.
    Started by torchrun, every process of it embeds its share of the pictures; the first judges, writes and has the
    records.
    Raises RequestError where nothing of it is there.
    """
    from sightword.evaluation import runner
    from sightword.evaluation.records import Results
    from sightword.evaluation.suites import choose_among, find_data
    from sightword.training.ranks import join_world, rank_device

    usual = "layers" if [*task] == ["layers"] else "embedded"
    wanted = find_data(suite or (usual,), data)
    if prompts is not None:
        wanted = choose_among(wanted, prompts)
    also: tuple[Task, ...] = () if prompts is None else ("prompt-choice",)
    mine = rank_device(device)
    with join_world(find_device(mine)) as world:
        subjects: list[runner.Subject] = []
        short = _short_names([str(given) for given in models if not isinstance(given, Model)])
        for given in models:
            model = given if isinstance(given, Model) else load(given, mine, precision, decode="exact")
            name = "model" if isinstance(given, Model) else short[str(given)]
            size = sum(parameter.numel() for parameter in model.model.parameters())
            subjects.append(runner.Subject(name, model, size))
        told = progress if world.first else None
        return runner.evaluate(subjects, wanted, Results(out), task, seed, told, also, world)


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """What tables call models: as much of the end of each path as tells them apart, and more than a mere `model`."""
    tails = {name: [*Path(name).parts] for name in names}
    for length in range(1, max(map(len, tails.values()), default=0) + 1):
        short = {name: "/".join(parts[-length:]).replace("//", "/") for name, parts in tails.items()}
        if len({*short.values()}) == len(short) and "model" not in short.values():
            return short
    return {name: name for name in names}


def interpolate(start: Model | str | Path, tuned: Model | str | Path, alpha: float, device: str = "auto") -> Model:
    """The model between a start and what was tuned from it: (1 - alpha) of the weights of one and alpha of the other's
    (WiSE-FT: arXiv 2109.01903). alpha = 0 is the start, 1 the tuned model; 0.5 is a good guess where nothing is at hand
    to choose it on.

    start, tuned: loaded models, or what `load` takes. Raises RequestError where the two have different architectures,
    tokenizers or treatments of pictures and texts.
    """
    from sightword.training.interpolate import check_alike, check_alpha, mix

    check_alpha(alpha)
    one, other = (made if isinstance(made, Model) else load(made, device="cpu") for made in (start, tuned))
    for model in (one, other):
        _check_whole(model, "interpolate")
    check_alike(one.contract, one.tokenizer, other.contract, other.tokenizer)
    ours, theirs = ({name: tensor.cpu() for name, tensor in m.model.state_dict().items()} for m in (one, other))
    mixed = DualEncoder(other.contract.architecture)
    mixed.load_state_dict(mix(ours, theirs, alpha))
    made_of = {"alpha": alpha, "start": one.fingerprint, "tuned": other.fingerprint}
    contract = other.contract.model_copy(update={"provenance": {**other.contract.provenance, "interpolation": made_of}})
    return Model(mixed, contract, other.tokenizer, device=device)


def _check_whole(model: Model, verb: str) -> None:
    if any(tensor.dtype != torch.float32 for tensor in model.model.parameters()):
        raise RequestError(
            f"the weights are not in float32 any more: load the model with precision='fp32' to {verb} it"
        )


def push(
    model: Model | str | Path,
    name: str,
    private: bool | None = None,
    revision: str | None = None,
    results: str | Path | None = None,
) -> str:
    """Put a model on the Hub as the repository `name`, in one commit, with a model card from its own record.

    model: a checkpoint folder, which goes as it is, or a loaded Model. private: of a new repository; None leaves that
    to the Hub. revision: a branch. results: a `metrics.json`; the one beside the folder otherwise. A README.md that
    somebody wrote is kept instead of the card. The folder is loaded and checked before anything is sent.
    Returns the address of the commit. Raises RequestError where the Hub refuses, SightwordError where it fails.
    """
    if isinstance(model, Model):
        return model.push(name, private, revision, results)
    from sightword.checkpoints.convert import conversions
    from sightword.checkpoints.upload import upload
    from sightword.evaluation.card import model_card, read_results

    folder = Path(model)
    if folder.is_file():
        return load(folder, device="cpu", precision="fp32").push(name, private, revision, results)
    encoder, contract, _ = load_folder(folder)
    found = folder.absolute().parent / "metrics.json" if results is None else Path(results)
    card = model_card(
        name,
        contract,
        find_family(folder),
        sum(parameter.numel() for parameter in encoder.parameters()),
        read_results(found) if results is not None or found.is_file() else None,
        conversions(folder),
    )
    return upload(folder, name, card, private, revision)
