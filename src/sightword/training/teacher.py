"""A teacher's vectors of all training pairs, made once and kept on disk.

What is kept is the teacher's view of the plain picture, prepared as its own contract says, and of every sentence that a
sample may show. The student may see a crop with other colours of it. To show the teacher the same crop would teach more
exactly (arXiv 2106.05237), and costs a pass of the teacher for each step; to keep it for many crops (arXiv 2311.17049)
costs disk space for each. So the milder the crops, the better what is kept fits: `augment.crop` from 0.6 or so.

A folder of vectors is named after the teacher's fingerprint and the keys of the pairs and sentences.

Shapes: N pictures or texts, E joint space of the teacher, D of the student.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sightword.data.pairs import Batch, Source
from sightword.embedding.embedder import Embedder
from sightword.errors import SightwordError
from sightword.objectives import Features, Similarities
from sightword.training.kept_vectors import KeptVectors, folder_of, keep_vectors, see, write_array
from sightword.training.loss_recipe import TeacherRecipe
from sightword.training.start import Start


class Teacher:
    """Says of each sample what the teacher makes of it, and adds that to the loss of a step."""

    def __init__(
        self,
        recipe: TeacherRecipe,
        images: KeptVectors,
        texts: KeptVectors,
        places: Mapping[str, int],
        scale: float,
        map_ED: Tensor | None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """places: of each sentence in `texts`. map_ED: to the student's space, where that has other dimensions."""
        self.recipe, self.images, self.texts, self.places, self.scale = recipe, images, texts, places, scale
        self.map_ED = map_ED
        self.features, self.similarities = Features(group), Similarities(group)

    def __call__(self, batch: Batch) -> Batch:
        """The batch, with the teacher's vectors."""
        their_image_BE = self.images.rows(batch.places)
        for key, vector_E in zip(batch.keys, their_image_BE, strict=True):
            if not vector_E.any():
                raise SightwordError(
                    f"{key}: could not be read when the teacher's vectors were made, and can be now: remove the folder "
                    "of its vectors (training.teacher.cache, or `teacher` in the run's own)"
                )
        return replace(batch, theirs=(their_image_BE, self.texts.rows([self.places[text] for text in batch.texts])))

    def loss(self, own: Tensor, image_BD: Tensor, text_BD: Tensor, scale: Tensor, batch: Batch) -> Tensor:
        """own: the loss of the step without a teacher; the sum of all, each with its weight."""
        assert batch.theirs is not None
        their_image_BE, their_text_BE = batch.theirs
        total = self.recipe.task * own
        if self.recipe.features:
            theirs = (self._mapped(their_image_BE), self._mapped(their_text_BE))
            total = total + self.recipe.features * self.features(image_BD, text_BD, *theirs)
        if self.recipe.similarities:
            asked = self.similarities(image_BD, text_BD, scale, their_image_BE, their_text_BE, self.scale)
            total = total + self.recipe.similarities * asked
        return total

    def _mapped(self, vectors_BE: Tensor) -> Tensor:
        return (
            vectors_BE if self.map_ED is None else F.normalize(vectors_BE @ self.map_ED.to(vectors_BE.device), dim=-1)
        )


def make_teacher(
    recipe: TeacherRecipe,
    start: Start,
    source: Source,
    texts: Sequence[str],
    folder: Path,
    dim: int,
    device: str,
    group: dist.ProcessGroup | None = None,
    images: KeptVectors | None = None,
) -> Teacher:
    """The teacher whose checkpoint is `start`. Its vectors of all pairs of `source` and of all `texts` are in `folder`,
    and made where they are not there yet. dim: D. images: those of the pictures, where they are known. Raises
    SightwordError where the disk is full."""
    embedder = Embedder(start.model, start.contract, start.tokenizer, device=device)
    folder = folder_of(folder, (start.fingerprint, *source.keys(), "", *texts))
    if images is None:
        images = keep_vectors(folder, "images", len(source), partial(see, embedder, source, dtype=np.float16))
    sentences = keep_vectors(folder, "texts", len(texts), partial(_read, embedder, texts))
    map_ED = None
    if recipe.features and dim != embedder.dim:
        map_ED = torch.from_numpy(_kept_map(folder / f"map-{dim}.npy", images, sentences, dim))
    places = {text: place for place, text in enumerate(texts)}
    return Teacher(recipe, images, sentences, places, embedder.scale, map_ED, group)


def _read(embedder: Embedder, texts: Sequence[str], places: range) -> NDArray[np.float16]:
    return embedder.embed_texts([texts[place] for place in places], truncate=True).astype(np.float16)


def _kept_map(file: Path, images: KeptVectors, texts: KeptVectors, dim: int) -> NDArray[np.float32]:
    """From E to D dimensions so that cosines stay what they are: with zeros behind where there are more (exact), on the
    principal axes of all the teacher's vectors where there are fewer (the nearest that a linear map comes). CLIP-KD
    learns a map instead; this one needs no training, and is the same for images and texts. Kept, as the signs of axes
    are a matter of the machine."""
    if not file.exists():
        gram_EE = images.gram() + texts.gram()
        axes_EE = np.linalg.eigh(gram_EE).eigenvectors[:, ::-1]
        few = len(gram_EE) > dim
        write_array(file, (axes_EE[:, :dim] if few else np.eye(len(gram_EE), dim)).astype(np.float32))
    mapped: NDArray[np.float32] = np.load(file)
    return mapped
