"""Feature rows with the encoder's arrays of them, which parts of a bundle that look at the same rows share."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from recsys.features.encoder import Encoder

BATCH = 4096
"""Most rows that are encoded at a time."""


class EncodedRows:
    """Feature rows of which the arrays are made once, when they are first asked for.

    Of more than one batch the arrays are not kept: they are larger than the rows, and would grow with the bank.
    """

    def __init__(self, rows: pl.DataFrame, encoder: Encoder) -> None:
        self.rows, self.height = rows, rows.height
        self.encoder = encoder
        self._arrays: dict[str, np.ndarray] | None = None

    @classmethod
    def of(cls, rows: "pl.DataFrame | EncodedRows", encoder: Encoder) -> "EncodedRows":
        """The rows themselves if they are encoded by this encoder already."""
        if isinstance(rows, EncodedRows):
            return rows if rows.encoder is encoder else cls(rows.rows, encoder)
        return cls(rows, encoder)

    def batches(self) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """Places of the rows, and their customer arrays, which are not to be written to."""
        if self.height > BATCH:
            for start in range(0, self.height, BATCH):
                yield slice(start, start + BATCH), self.encoder.encode(self.rows.slice(start, BATCH))
        elif self.height:
            if self._arrays is None:
                self._arrays = self.encoder.encode(self.rows)
            yield slice(0, self.height), self._arrays


Rows = pl.DataFrame | EncodedRows
"""Feature rows, encoded or not."""
