"""What the fused merges, compiled for a CPU or a GPU, have in common: a `Merge` in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from mergelab.kernels.combining import options_of
from mergelab.kernels.fused_settings import ALL_WORDS, combination, preparation, weighted
from mergelab.kernels.operands import Zeros, accepted
from mergelab.kernels.tiled import Matrix, Merge
from mergelab.methods.concat import concat
from mergelab.methods.factors import Factors


class FusedMerge:
    """The settings of a merge that the kernels take (`fused_settings.takes`).

    Thresholds in `prepared`, and the sign of a draw, may still have to be found. Raises
    `ValueError` as the method does.
    """

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        self.prepared = [preparation(merge, source) for source in range(len(merge.changes))]
        self.rescale = tuple(own.drop_factor * own.factor for own in self.prepared)
        self.dropping = any(own.words < ALL_WORDS for own in self.prepared)
        self.trimming = any(own.trims for own in self.prepared)
        self.combination = combination(merge) or weighted(self._factors())

    @property
    def gram(self) -> Matrix:
        """Inner products of the changes in fp64."""
        raise NotImplementedError

    @property
    def weight_gram(self) -> Matrix:
        """Those of what is combined: of full weights where `in_weights`."""
        raise NotImplementedError

    def low_rank(self) -> Factors | None:
        """The merged change as factors, where the method only adds some up."""
        method, changes = self.merge.method, self.merge.changes
        there = [i for i, change in enumerate(changes) if not isinstance(change, Zeros)]
        summed = method.coefficients and not method.prepare and not self.merge.in_weights
        if not summed or not there or not all(isinstance(changes[i], Factors) for i in there):
            return None
        factors = self._factors()
        return concat([changes[i] for i in there], [factors[i] for i in there])

    def _factors(self) -> Sequence[float]:
        method = self.merge.method
        options = options_of(self.merge.settings, self.merge.per_source)
        return method.coefficients(self.weight_gram, **accepted(method.coefficients, options))
