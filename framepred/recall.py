"""What was worked out about a frame, kept for the next gap that sees the same frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

__all__ = ["Recall"]

Values = tuple[Tensor, ...]


class Recall:
    """Tensors by key, those used longest ago given up when together they pass ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._kept: OrderedDict[Hashable, Values] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def look_up(
        self, keys: Sequence[Hashable], compute: Callable[[list[int]], Sequence[Values]]
    ) -> list[Values]:
        """The values of ``keys``; ``compute`` makes those of the positions that are not known."""
        known = {key: self._kept[key] for key in keys if key in self._kept}
        positions = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
        lacking = sorted(positions.values())
        if lacking:
            made = compute(lacking)
            known |= {keys[i]: values for i, values in zip(lacking, made, strict=True)}
        for key in keys:
            self._keep(key, known[key])
        return [known[key] for key in keys]

    def clear(self) -> None:
        """Give up all that is kept."""
        self._kept.clear()
        self.n_bytes = 0

    def _keep(self, key: Hashable, values: Values) -> None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        self._kept[key] = values
        self.n_bytes += _count_bytes(values)
        while self.n_bytes > self.max_bytes:
            _, gone = self._kept.popitem(last=False)
            self.n_bytes -= _count_bytes(gone)


def _count_bytes(values: Values) -> int:
    return sum(value.numel() * value.element_size() for value in values)
