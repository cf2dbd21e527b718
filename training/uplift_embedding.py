"""The customer embedding as uplift reads it: through the graph that will be served, so that both see the same bits."""

from collections.abc import Mapping

import numpy as np

from recsys.bundle.embedding import ABOUT, GRAPH, About, embedding_ports
from recsys.bundle.graph import Graph
from recsys.features.encoded import BATCH
from recsys.features.encoder import Encoder


class GraphEmbedding:
    """Customer arrays → float32 [N, dimensions]."""

    def __init__(self, files: Mapping[str, bytes], encoder: Encoder) -> None:
        self._about = About.model_validate_json(files[ABOUT])
        self._graph = Graph(files[GRAPH], GRAPH, *embedding_ports(encoder, self._about))
        self.dimensions = self._about.dimensions

    @classmethod
    def of(cls, files: Mapping[str, bytes] | None, encoder: Encoder) -> "GraphEmbedding | None":
        """From the files of the part `embedding`, None without it."""
        return None if files is None else cls(files, encoder)

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The arrays in batches, as they are asked for when the bundle answers."""
        count = len(next(iter(arrays.values())))
        found = np.empty((count, self.dimensions), dtype=np.float32)
        for start in range(0, count, BATCH):
            part = {name: np.ascontiguousarray(arrays[name][start : start + BATCH]) for name in self._about.arrays}
            found[start : start + BATCH] = self._graph.run(part)[0]
        return found
