"""Files to pairs to batches: sources, order, decoding, augmentation, tokenizers."""
