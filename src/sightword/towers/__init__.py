"""Batches to embeddings: image towers, text towers, the dual encoder, presets."""
