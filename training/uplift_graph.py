"""The model of uplift: a baseline, an effect with its standard error; in numpy, and as one ONNX graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
import polars as pl

from recsys.features.encoder import FIRST, UNKNOWN, ArrayShape
from recsys.uplift.scores import Line
from training.churn_boosting import tree_attributes
from training.churn_graph import GraphParts, as_model
from training.uplift_inputs import Inputs
from training.uplift_learners import Term, effects


@dataclass(frozen=True)
class UpliftModel:
    """P(outcome without contact), what contact adds to it, and how sure that is.

    effect = mean + slope · (bags' mean - centre), within what a probability allows. Its variance is that of the bags
    times slope², plus the errors of mean and slope. The bags are fitted on halves of the customers, so their variance
    is the delete-half jackknife's (Shao and Wu, Annals of Statistics 1989). What trees shrink is not in it.
    """

    inputs: Inputs
    shape: ArrayShape
    products: tuple[str, ...]
    baseline: tuple[lightgbm.Booster, ...]
    terms: tuple[Term, ...]
    line: Line

    def answers(
        self, arrays: Mapping[str, np.ndarray], embedding: np.ndarray | None, actions: pl.DataFrame
    ) -> np.ndarray:
        """float64 [3, N, A]: baseline, effect, standard error."""
        found = []
        place = {product: i for i, product in enumerate(self.products)}
        for product, vector in zip(actions["product_id"], self.inputs.actions.vectors(actions), strict=True):
            rows = self.inputs.of_customers(arrays, embedding)
            index = np.full(len(rows), place[product] + FIRST if product in place else UNKNOWN)
            rows = np.concatenate([rows, self.inputs.looked(arrays, index)], axis=1)
            tables = [
                np.concatenate([rows, np.tile(one, (len(rows), 1))], axis=1)
                for one in (vector, vector * self.inputs.actions.of_product)
            ]
            found.append(self._answer(*tables))
        return np.stack(found, axis=2)

    def _answer(self, contacted: np.ndarray, untouched: np.ndarray) -> np.ndarray:
        log_odds = np.mean([one.predict(untouched, raw_score=True, num_threads=1) for one in self.baseline], axis=0)
        baseline = 1 / (1 + np.exp(-log_odds))
        bags = effects(self.terms, contacted, untouched)
        apart = bags.mean(axis=1) - self.line.centre
        effect = np.clip(self.line.mean + self.line.slope * apart, -baseline, 1 - baseline)
        variance = self.line.slope**2 * bags.var(axis=1, ddof=1)
        variance = variance + self.line.mean_error**2 + (self.line.slope_error * apart) ** 2
        return np.stack([baseline, effect, np.sqrt(variance)])

    def graph(self) -> bytes:
        """Customer arrays and an action → `baseline`, `effect`, `se`, float32 [N] each."""
        parts = GraphParts(self.inputs.columns)
        contacted, untouched = self.inputs.nodes(parts)
        shared = _constant(parts, "folds", 1 / len(self.baseline))
        trees = tree_attributes(self.baseline)
        summed = parts.node("TreeEnsembleRegressor", [untouched], "baseline_sum", domain="ai.onnx.ml", **trees)
        baseline = parts.node("Sigmoid", [parts.node("Mul", [summed, shared], "baseline_odds")], "baseline_column")
        bags = self._bags(parts, contacted, untouched)
        mean = parts.node("MatMul", [bags, self._ones(parts, "bags_mean", 0)], "raw_effect")
        apart = parts.node("Sub", [mean, _constant(parts, "centre", self.line.centre)], "apart")
        scaled = parts.node("Mul", [apart, _constant(parts, "slope", self.line.slope)], "spread_effect")
        effect = parts.node("Add", [scaled, _constant(parts, "mean", self.line.mean)], "free_effect")
        low = parts.node("Neg", [baseline], "least_effect")
        high = parts.node("Sub", [_constant(parts, "one", 1.0), baseline], "most_effect")
        bounded = parts.node("Min", [parts.node("Max", [effect, low], "above"), high], "effect_column")
        error = self._error(parts, bags, mean, apart)
        first = parts.constant("first", np.array([1], dtype=np.int64))
        for name, column in (("baseline", baseline), ("effect", bounded), ("se", error)):
            parts.node("Squeeze", [column, first], name)
        outputs: dict[str, tuple[str | int, ...]] = {name: ("batch",) for name in ("baseline", "effect", "se")}
        return as_model(parts, "uplift", self.shape, self.inputs.arrays, outputs, self.inputs.beside())

    def _bags(self, parts: GraphParts, contacted: str, untouched: str) -> str:
        """[N, bags]."""
        total = ""
        for i, term in enumerate(self.terms):
            trees, name = tree_attributes(term.boosters, apart=True), f"term_{i}"
            table = untouched if term.untouched else contacted
            found = parts.node("TreeEnsembleRegressor", [table], f"{name}_trees", domain="ai.onnx.ml", **trees)
            if term.link:
                found = parts.node("Sigmoid", [found], f"{name}_probability")
            found = parts.node("Mul", [found, _constant(parts, f"{name}_factor", term.factor)], name)
            total = parts.node("Add", [total, found], f"{name}_added") if total else found
        return total

    def _ones(self, parts: GraphParts, name: str, fewer: int) -> str:
        bags = len(self.terms[0].boosters)
        return parts.constant(name, np.full((bags, 1), 1 / (bags - fewer), dtype=np.float32))

    def _error(self, parts: GraphParts, bags: str, mean: str, apart: str) -> str:
        squares = parts.node(
            "Pow", [parts.node("Sub", [bags, mean], "bags_apart"), _constant(parts, "two", 2.0)], "squares"
        )
        variance = parts.node("MatMul", [squares, self._ones(parts, "bags_variance", 1)], "variance")
        found = parts.node("Mul", [variance, _constant(parts, "slope_squared", self.line.slope**2)], "scaled_variance")
        known = parts.node("Add", [found, _constant(parts, "mean_variance", self.line.mean_error**2)], "with_mean")
        turned = parts.node("Mul", [apart, _constant(parts, "slope_error", self.line.slope_error)], "turned")
        turned = parts.node("Mul", [turned, turned], "turned_squared")
        return parts.node("Sqrt", [parts.node("Add", [known, turned], "whole_variance")], "se_column")


def _constant(parts: GraphParts, name: str, value: float) -> str:
    return parts.constant(name, np.array([value], dtype=np.float32))
