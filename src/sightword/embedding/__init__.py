"""Images and texts to vectors."""

from typing import Literal, TypeAlias

# Of the weights and of what is computed with them. Here, because the command line names it and loads no torch.
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
