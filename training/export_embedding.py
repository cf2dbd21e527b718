"""A fitted embedding to the files of a bundle's part, through the graph that will be served."""

from collections.abc import Mapping

import numpy as np
import torch

from recsys.bundle import Graph
from recsys.bundle.embedding import GRAPH, About, embedding_part, embedding_ports, surprise
from recsys.embedding import Embedding
from recsys.features.encoder import Encoder
from training.customers import Customers
from training.embedding_graph import embedding_graph

_BATCH = 4096


class Embedded:
    """The customers of training as the exported graph embeds them."""

    def __init__(self, model: Embedding, encoder: Encoder, customers: Customers, unusual_share: float) -> None:
        self.graph = embedding_graph(model, encoder.shape, encoder.customer.tag_width)
        inputs = model.autoencoder.inputs
        autoencoder, sequence, ahead = model.dims
        self.about = About(
            arrays=model.arrays,
            features=inputs.features,
            autoencoder=autoencoder,
            sequence=sequence,
            ahead=ahead,
            scaled=model.autoencoder.scaled_width,
            unusual=float("inf"),
        )
        session = Graph(self.graph, GRAPH, *embedding_ports(encoder, self.about), threads=2)
        found: list[tuple[np.ndarray, ...]] = []
        for start in range(0, len(customers), _BATCH):
            rows = slice(start, start + _BATCH)
            found.append(session.run({name: np.array(customers.arrays[name][rows]) for name in self.about.arrays}))
        self.vectors, self.features, errors = (np.concatenate(part) for part in zip(*found, strict=True))
        threshold = float(np.quantile(surprise(errors), 1 - unusual_share, method="higher"))
        self.about = self.about.model_copy(update={"unusual": threshold})
        self.unusual = surprise(errors) >= threshold
        """bool [N]: who is unusual."""


@torch.no_grad()
def torch_embedding(model: Embedding, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embedding, scaled features and errors of these customers as the trained model answers."""
    read = {name: torch.from_numpy(np.array(arrays[name])) for name in model.arrays}
    vectors, scaled, errors = model.eval()(read)
    return vectors.numpy(), scaled.numpy(), errors.numpy()


def torch_places(model: Embedding, arrays: Mapping[str, np.ndarray], space: str) -> np.ndarray:
    """The points that are compared with prototypes, as the trained model answers."""
    vectors, scaled, _ = torch_embedding(model, arrays)
    return vectors if space == "embedding" else scaled


def export_embedding(model: Embedding, embedded: Embedded, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The files of the part `embedding`; `arrays` are those of the parity record's invented customers."""
    vectors, _, errors = torch_embedding(model, arrays)
    return embedding_part(graph=embedded.graph, about=embedded.about, vectors=vectors, errors=errors)
