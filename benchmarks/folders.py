"""A ViT-B/32 of OpenAI's shape with random weights and OpenAI's vocabulary, in the folders of three libraries.

open_clip brings the vocabulary; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

from peers import import_open_clip


def make_b32(work: Path) -> None:
    """`work/transformers` as transformers saves it, and `work/open_clip`, converted from it. Folders that are there
    already are left as they are."""
    theirs = import_open_clip().tokenizer.SimpleTokenizer()  # before transformers: see peers.py
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    from sightword.checkpoints.convert import convert

    if not (work / "transformers").exists():
        torch.manual_seed(0)
        text = {"bos_token_id": 49_406, "eos_token_id": 49_407}
        CLIPModel(CLIPConfig(text_config=text)).save_pretrained(work / "transformers")
        CLIPImageProcessor().save_pretrained(work / "transformers")
        names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        vocabulary = {names.get(word, word): number for word, number in theirs.encoder.items()}
        CLIPTokenizer(vocab=vocabulary, merges=list(theirs.bpe_ranks)).save_pretrained(work / "transformers")
    if not (work / "open_clip").exists():
        convert(work / "transformers", "open_clip", work / "open_clip")
