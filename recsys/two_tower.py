"""The two-tower recommender: a customer tower and a product tower whose dot product is the score.

Nothing here sums over a history or a feature axis with a reduction operator: pooling and norms are matrix products, so
that the exported graphs give the same bits for a customer whatever the batch (ONNX Runtime's ReduceSum does not).
"""

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from recsys.errors import DataError
from recsys.features.encoder import FIRST, UNKNOWN, ArrayShape
from recsys.layers import HistoryPooling, HoldingsPooling, small_linear, small_table

SPARSE_ROWS = 50_000
"""Of a larger product table a batch of the sampled loss reads the rows that it names, and these alone are learned."""


class ModelConfig(BaseModel):
    """Sizes and regularisation of the towers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(64, ge=1)
    """Dimensions of the product table and of both towers' output (the item bias adds one)."""
    hidden: int = Field(256, ge=1)
    """Width inside the residual blocks."""
    layers: int = Field(1, ge=0)
    """Residual blocks of the customer tower."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations dropped in training, at the blocks' entrance and inside them."""
    product_id_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of products that train as unknown, from their attributes alone; without attributes there is none."""
    temperature: float = Field(0.07, gt=0, le=10)
    """Divides the cosine of the two vectors: lower is sharper; 0.05 to 0.2 is usual."""
    learn_temperature: bool = False
    """Learn the temperature from its starting value, kept within 0.01 to 1."""
    item_bias: bool = True
    """A score of its own for each product, started at its log popularity: more hits, less coverage."""
    share_products: bool = True
    """One table for the products to recommend and the products in holdings and history."""
    spectral_start: bool = False
    """Start the product table from the leading `dim` directions of which products come together, instead of small and
    random (see `training.spectral`): for unordered sets from a large catalogue, with a `dim` of 256 or more. Ordered
    sequences lost by it."""
    tag_start: bool = False
    """Start the tags of products, words of names included, from which products have them, instead of small and random:
    products that training never saw rank better by them, those that it saw a little worse."""
    number_waves: int = Field(0, ge=0)
    """Waves of learned frequency and phase at which each number is read beside its plain value, so that thresholds and
    seasons in it can be found (periodic activations, Gorishniy et al. 2022, arXiv 2203.05556); 0 for none."""
    category_dim: int = Field(32, ge=1)
    """Most dimensions of a category's embedding; n values get 1.6 · n^0.56 up to this."""


class TwoTower(nn.Module):
    """Score = customer vector [N, D] · product vector [P, D]; D is `dim`, plus one for the item bias.

    The customer vector is of length 1/temperature, the product vector of length 1 (leaving the bias aside). Parts that
    `shape` has no input for are not built. A product in holdings or history reads as its id and its attributes, so
    the model keeps the catalogue's product arrays, [P, …] in catalogue order; log_popularity is float [P], None for
    unknown.
    """

    def __init__(
        self,
        config: ModelConfig,
        shape: ArrayShape,
        catalogue: dict[str, Tensor],
        log_popularity: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.ids = small_table(shape.products, config.dim)
        self.product_tower = ProductTower(config, shape, log_popularity)
        self.customer_tower = CustomerTower(config, shape, log_popularity)
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(config.temperature)), requires_grad=config.learn_temperature
        )
        self._catalogue = sorted(catalogue)
        for name in self._catalogue:
            self.register_buffer(f"catalogue_{name}", catalogue[name])

    def catalogue(self) -> dict[str, Tensor]:
        """The product arrays of the catalogue."""
        return {name: self.get_buffer(f"catalogue_{name}") for name in self._catalogue}

    def forward(self, arrays: dict[str, Tensor], columns: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vectors of the customers [N, D] and of the catalogue, or of its `columns`, [P, D]; attributes read once."""
        if columns is not None and self.shape.products > SPARSE_ROWS:
            return self._forward_named(arrays, columns)
        catalogue = self.catalogue()
        content = self.product_tower.content(catalogue)
        index = catalogue["product"]
        customers = self.customer(arrays, self.held_table(content))
        if columns is not None:
            index, content = index[columns], None if content is None else content[columns]
        return customers, self._products(index, content)

    def _forward_named(self, arrays: dict[str, Tensor], columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, on a table of the products that the batch names; the gradients of the id tables are sparse."""
        lists: dict[str, Tensor] = {name: arrays[name] for name in ("history", "held") if name in arrays}
        reserved = torch.arange(FIRST, device=columns.device)
        named = torch.unique(torch.cat([reserved, columns + FIRST, *(values.flatten() for values in lists.values())]))
        catalogue = {name: values[named[FIRST:] - FIRST] for name, values in self.catalogue().items()}
        content = self.product_tower.content(catalogue)
        ids = nn.functional.embedding(named, self.ids.weight, sparse=True)
        own = self.customer_tower.own_ids
        held = ids if own is None else nn.functional.embedding(named, own.weight, sparse=True)
        rows = {name: torch.searchsorted(named, values) for name, values in lists.items()}
        if "held" in rows:
            rows["held_row"] = rows.pop("held")
        customers = self.customer(arrays | rows, _described(held, content))
        row = torch.searchsorted(named, columns + FIRST)
        content = None if content is None else content[row - FIRST]
        return customers, self._products(columns + FIRST, content, ids, row)

    def held_table(self, content: Tensor | None = None) -> Tensor:
        """[P + 2, dim] what each product index is worth in holdings and history; `content` is the catalogue's."""
        ids = self.ids.weight if self.customer_tower.own_ids is None else self.customer_tower.own_ids.weight
        if content is None:
            content = self.product_tower.content(self.catalogue())
        return _described(ids, content)

    def customer(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor:
        """Customer arrays (see `ArrayShape`) and `held_table()` → [N, D]."""
        vector = _normalise(self.customer_tower(arrays, table))
        vector = vector * self.log_scale.clamp(0.0, math.log(100.0)).exp()
        if not self.config.item_bias:
            return vector
        return torch.cat([vector, torch.ones_like(vector[:, :1])], dim=1)

    def product(self, arrays: dict[str, Tensor]) -> Tensor:
        """Product arrays → [P, D]; index 1, a product outside the vocabulary, is known by its attributes."""
        return self._products(arrays["product"], self.product_tower.content(arrays))

    def _products(
        self, index: Tensor, content: Tensor | None, ids: Tensor | None = None, row: Tensor | None = None
    ) -> Tensor:
        vector, bias = self.product_tower(index, content, self.ids.weight if ids is None else ids, row)
        vector = _normalise(vector)
        return vector if bias is None else torch.cat([vector, bias], dim=1)


class CustomerTower(nn.Module):
    """Profile, holdings and pooled history to a vector [N, dim], not yet normalised."""

    def __init__(self, config: ModelConfig, shape: ArrayShape, log_popularity: Tensor | None = None) -> None:
        super().__init__()
        if not (shape.categories or shape.numbers or shape.tags or shape.holdings or shape.held or shape.history):
            raise DataError("two-tower: the customer side has no profile, no holdings and no history to learn from")
        self.attributes = Attributes(config, shape.categories, shape.numbers, shape.tags)
        self.holdings = small_linear(shape.products, config.dim, bias=False) if shape.holdings else None
        self.dropout = nn.Dropout(config.dropout)
        self.held = HoldingsPooling(shape, log_popularity) if shape.held else None
        separate = not config.share_products and (shape.holdings or shape.held or shape.history)
        self.own_ids = small_table(shape.products, config.dim) if separate else None
        self.history = HistoryPooling(config.dim, shape) if shape.history else None
        self.blocks = nn.Sequential(*(ResidualBlock(config) for _ in range(config.layers)))

    def forward(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor:
        """Customer arrays and the table of held products [P + 2, dim] → [N, dim]."""
        found = []
        if self.attributes.any:
            found.append(self.attributes(arrays))
        if self.holdings is not None:
            held = arrays["holdings"]
            found += [self.holdings(held), held @ table]
        if self.held is not None:
            found.append(self.held(arrays["held"], table, arrays.get("held_row")))
        if self.history is not None:
            found.append(self.history(arrays, table))
        return self.blocks(self.dropout(_total(found)))


class ProductTower(nn.Module):
    """Id and attributes to a vector [P, dim], not yet normalised, and a bias [P, 1] or None.

    Linear on purpose: a residual block over the attributes cost a sixth of the validation NDCG on Amazon Beauty.
    In training a share of ids is replaced by the unknown one, which so learns what attributes alone can say.
    """

    def __init__(self, config: ModelConfig, shape: ArrayShape, log_popularity: Tensor | None) -> None:
        super().__init__()
        self.attributes = Attributes(
            config, shape.product_categories, shape.product_numbers, shape.product_tags, "product_"
        )
        self.id_dropout = config.product_id_dropout if self.attributes.any else 0.0
        self.bias = nn.Embedding(shape.products, 1) if config.item_bias else None
        if self.bias is not None:
            nn.init.zeros_(self.bias.weight)
            if log_popularity is not None:
                centred = log_popularity - log_popularity.mean()
                with torch.no_grad():
                    self.bias.weight[2:, 0] = centred

    def content(self, arrays: dict[str, Tensor]) -> Tensor | None:
        """Product arrays → what the attributes say [P, dim], None without attributes."""
        return self.attributes(arrays) if self.attributes.any else None

    def forward(
        self, index: Tensor, content: Tensor | None, ids: Tensor, row: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Product index [P], what the attributes say [P, dim], table of ids [P + 2, dim] → [P, dim], [P, 1].

        `row` [P] are the products' rows of `ids` where it is a part of the table, its first two rows being the same.
        """
        row = index if row is None else row
        if self.training and self.id_dropout:
            lost = torch.rand(index.shape, device=index.device) < self.id_dropout
            index, row = torch.where(lost, UNKNOWN, index), torch.where(lost, UNKNOWN, row)
        vector = nn.functional.embedding(row, ids)
        if content is not None:
            vector = vector + content
        return vector, self.bias(index) if self.bias is not None else None


class Attributes(nn.Module):
    """The attributes of one side to a vector [N, dim]: one linear map of categories and numbers, plus the mean tag."""

    def __init__(
        self, config: ModelConfig, categories: tuple[int, ...], numbers: int, tags: int, prefix: str = ""
    ) -> None:
        super().__init__()
        self.prefix = prefix
        self.any = bool(categories or numbers or tags)
        sizes = [min(config.category_dim, round(1.6 * count**0.56)) for count in categories]
        self.categories = nn.ModuleList(small_table(*both) for both in zip(categories, sizes, strict=True))
        self.numbers = numbers
        self.waves = Waves(numbers, config.number_waves) if numbers and config.number_waves else None
        width = sum(sizes) + numbers * (2 + config.number_waves)
        self.join = small_linear(width, config.dim) if width else None
        self.tags = small_table(tags, config.dim) if tags else None

    def forward(self, arrays: dict[str, Tensor]) -> Tensor:
        """categories int32 [N, C]; numbers, missing float32 [N, M]; tags int32 [N, K], 0 for none → [N, dim]."""
        found, read = [], []
        if self.categories:
            columns = arrays[f"{self.prefix}categories"]
            read += [table(columns[:, i]) for i, table in enumerate(self.categories)]
        if self.numbers:
            read += [arrays[f"{self.prefix}numbers"], arrays[f"{self.prefix}missing"]]
        if self.waves is not None:
            read.append(self.waves(arrays[f"{self.prefix}numbers"]))
        if self.join is not None:
            found.append(self.join(torch.cat(read, dim=1)))
        if self.tags is not None:
            found.append(self._mean_tag(arrays[f"{self.prefix}tags"], self.tags))
        return _total(found)

    def _mean_tag(self, tags: Tensor, table: nn.Embedding) -> Tensor:
        """int32 [N, K], 0 for none → [N, dim]; as matrix products for the exported graph, faster in training."""
        if self.training:
            return nn.functional.embedding_bag(tags, table.weight, mode="mean", padding_idx=0)
        present = tags.clamp(max=1).to(table.weight.dtype)[:, None, :]
        count = present @ torch.ones(tags.shape[1], 1, dtype=present.dtype, device=present.device)
        return (present @ table(tags) / count.clamp(min=1.0)).flatten(1)


class Waves(nn.Module):
    """Each number as waves between -1 and 1 of learned frequencies and phases; pairs start a quarter of a wave apart.

    A wave is made of parabolas, within .06 of the sine: ONNX Runtime's Sin does not give the same bits in any batch.
    """

    def __init__(self, numbers: int, waves: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(numbers, -(-waves // 2)).repeat_interleave(2, dim=1)[:, :waves])
        self.phase = nn.Parameter(0.25 * (torch.arange(waves) % 2).repeat(numbers, 1))

    def forward(self, numbers: Tensor) -> Tensor:
        """[N, M] → [N, M · waves]."""
        turns = numbers[:, :, None] * self.frequency + self.phase
        part = turns - (turns + 0.5).floor()
        return (8 * part * (1 - 2 * part.abs())).flatten(1)


def _described(ids: Tensor, content: Tensor | None) -> Tensor:
    """Rows of ids, the first two of no product, and what the attributes of the others say → their sum."""
    return ids if content is None else torch.cat([ids[:FIRST], ids[FIRST:] + content])


def _total(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], start=parts[0])


class ResidualBlock(nn.Module):
    """x + MLP(LayerNorm(x)), [N, dim] to [N, dim]; starts as the identity."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.widen = nn.Linear(config.dim, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, dim] → [N, dim]."""
        return x + self.narrow(self.dropout(self._active(self.widen(self.norm(x)))))

    def _active(self, wide: Tensor) -> Tensor:
        """The Gaussian error linear unit; for the exported graph in the form that ONNX Runtime joins into one step."""
        if self.training:
            return nn.functional.gelu(wide)
        return wide * (torch.erf(wide / math.sqrt(2.0)) + 1.0) * 0.5


def _normalise(vector: Tensor) -> Tensor:
    """[N, D] to unit length; the sum of squares is a matrix product."""
    squares = (vector * vector) @ torch.ones_like(vector[:1]).T
    return vector / (squares + 1e-12).sqrt()
