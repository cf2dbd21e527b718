"""The embedding of a customer: the autoencoder's vector and, where there are events, of their order and sequel."""

import torch
from torch import Tensor, nn

from recsys.ahead import Ahead
from recsys.autoencoder import Autoencoder
from recsys.sequence_encoder import HISTORY, SequenceEncoder

OUTPUTS = ("customer_vector", "scaled_features", "relative_errors")
"""What the exported graph gives."""


class Embedding(nn.Module):
    """Customer arrays → embedding [N, E], scaled features [N, W], reconstruction errors [N, F].

    Each of its parts (autoencoder, sequence encoder, what comes next) is centred and scaled so that its mean squared
    length over the customers that it was fitted on is 1: none drowns the others in a distance. An error is relative to
    its mean over those customers.
    """

    def __init__(self, autoencoder: Autoencoder, sequence: SequenceEncoder | None, ahead: Ahead | None = None) -> None:
        super().__init__()
        self.autoencoder, self.sequence, self.ahead = autoencoder, sequence, ahead
        self.dims = (autoencoder.config.dim, sequence.config.dim if sequence else 0, ahead.dim if ahead else 0)
        """Dimensions of each part, in their order; 0 for one that is not there."""
        width = sum(self.dims)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("usual", torch.ones(len(autoencoder.inputs.features)))

    def settle(self, vectors: Tensor, errors: Tensor) -> None:
        """Take centre and scale from `raw` of the customers it was fitted on: vectors [N, E], errors [N, F]."""
        centre = vectors.mean(dim=0)
        away = vectors - centre
        scale = torch.ones_like(centre)
        for part in self.parts:
            if away[:, part].shape[1]:
                length = (away[:, part] ** 2).sum(dim=1).mean().sqrt()
                scale[part] = 1 / length if length > 1e-6 else 1.0
        usual = errors.mean(dim=0).clamp(min=1e-3)
        for name, values in (("centre", centre), ("scale", scale), ("usual", usual)):
            self.get_buffer(name).copy_(values)

    def raw(self, arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors as the parts give them, scaled features, errors."""
        known = self.autoencoder.inputs.selected(arrays)
        vector = self.autoencoder.vector(known)
        errors, scaled, parts = self.autoencoder.errors(known, vector), self.autoencoder.scaled(known), [vector]
        if self.sequence is not None:
            parts.append(self.sequence({name: arrays[name] for name in HISTORY if name in arrays}))
        if self.ahead is not None:
            parts.append(self.ahead(scaled, known["numbers"]))
        return torch.cat(parts, dim=1), scaled, errors

    def forward(self, arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Customer arrays → the outputs, in the order of `OUTPUTS`."""
        vectors, scaled, errors = self.raw(arrays)
        settled = (vectors - self.get_buffer("centre")) * self.get_buffer("scale")
        return settled, scaled, errors / self.get_buffer("usual")

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Columns of the autoencoder, the sequence encoder and what comes next; empty for one that is not there."""
        first, second, third = self.dims
        return slice(0, first), slice(first, first + second), slice(first + second, first + second + third)

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the customer arrays that are read."""
        inputs = self.autoencoder.inputs
        found = ["numbers", "missing"] if inputs.numbers else []
        found += ["categories"] if inputs.categories else []
        found += ["tags"] if inputs.tags else []
        found += ["holdings"] if inputs.products else []
        if self.sequence is not None:
            found += [name for name in HISTORY if name != "history_age" or self.sequence.pooling.age is not None]
        return tuple(found)
