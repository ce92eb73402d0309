"""A KV cache from which entries are evicted, layer by layer and KV head by KV head.

Keys are stored with their rotary position, so an entry that stays keeps its place in the text.
What must not change by an eviction is the position of the next token: a plain `DynamicLayer`
answers with the number of its entries when asked how many tokens it has seen, so that new tokens
would be given positions anew, and `generate()` would feed the evicted prompt a second time.

Rows, layers and heads may keep unequally many. Tensors are filled up then, and every key has one
feature more than a query: 0 for an entry, and for what fills up a number so low that nobody attends
to it. `attention` gives queries a 1 for it; any other attention fails on the shapes.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer


class EvictingLayer(DynamicLayer):
    """The entries of one layer: `keys` and `values` are [B, kv_heads, entries, head_dim], or keys
    [B, kv_heads, entries, head_dim + 1] where some fill up.

    Attributes:
        seen: tokens that this layer was given, evicted ones included.
        settled: tokens seen at the last eviction; only later ones can be forgotten by `crop`.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = self.settled = 0

    @property
    def entries(self) -> int:
        """How many entries there are, evicted ones not counted, those that fill up counted."""
        return super().get_seq_length()

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        self.seen += key_states.shape[-2]
        if self._is_filled_up:
            key_states = pad(key_states, (0, 1))
        return super().update(key_states, value_states, *args, **kwargs)

    @property
    def _is_filled_up(self) -> bool:
        return self.is_initialized and self.keys.shape[-1] > self.values.shape[-1]

    def evict(self, kept: Tensor) -> None:
        """Keep these entries and no others.

        Args:
            kept: [B, kv_heads, m] int64, indices of entries, or -1 to fill up; a B of 1 in the
                layer is copied to the B given here.

        Raises:
            ValueError: if the layer is empty, the shape does not fit, an index is no entry, or a
                head names an entry twice.
        """
        if not self.is_initialized:
            raise ValueError("the layer is empty: it was given no tokens yet")
        batch, heads = self.keys.shape[:2]
        if kept.ndim != 3 or kept.shape[1] != heads or batch not in (1, len(kept)):
            raise ValueError(
                f"kept has shape {list(kept.shape)}; expected [{batch}, {heads}, entries to keep]"
            )
        ordered = kept.sort(-1).values
        if kept.numel() and (int(ordered.min()) < -1 or int(ordered.max()) >= self.entries):
            raise ValueError(
                f"kept has indices from {int(ordered.min())} to {int(ordered.max())}; there are "
                f"{self.entries} entries"
            )
        if bool(((ordered.diff(dim=-1) == 0) & (ordered[..., 1:] >= 0)).any()):
            raise ValueError("kept names an entry twice; allowed is once in each row and KV head")
        filling = kept < 0
        if kept.shape[-1] < self.entries or bool(filling.any()):
            self.settled = self.seen
        if bool(filling.any()) and not self._is_filled_up:
            self.keys = pad(self.keys, (0, 1))
        self.keys, self.values = (
            x.expand(len(kept), *x.shape[1:]).gather(
                2, kept.clamp(min=0)[..., None].expand(*kept.shape, x.shape[-1])
            )
            for x in (self.keys, self.values)
        )
        if self._is_filled_up:
            self.keys[..., -1].masked_fill_(filling, torch.finfo(self.keys.dtype).min / 2)

    def get_seq_length(self) -> int:
        """Tokens seen: the position of the next one."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of keys that the next tokens meet, and the position of the first, were they
        without gaps: new tokens see all entries, and each other causally."""
        return self.entries + query_length, self.seen - self.entries

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the newest tokens; their number is given below zero.

        Raises:
            ValueError: if fewer tokens came since the last eviction, or the number is positive.
        """
        lowest = self.settled - self.seen
        if not lowest <= tokens_to_remove <= 0:
            raise ValueError(f"tokens_to_remove is {tokens_to_remove}; allowed is {lowest} to 0")
        if tokens_to_remove:
            self.keys = self.keys[..., :tokens_to_remove, :]
            self.values = self.values[..., :tokens_to_remove, :]
            self.seen += tokens_to_remove

    def reset(self) -> None:
        super().reset()
        self.seen = self.settled = 0


class EvictingCache(Cache):
    """An `EvictingLayer` for each layer of a model; takes the place of a `DynamicCache`.

    The layers of one cache must all keep equally many entries, those that fill up counted: models
    make one mask for them all.
    """

    def __init__(self, num_layers: int):
        super().__init__(layers=[EvictingLayer() for _ in range(num_layers)])

    def evicted(self, kept: list[Tensor]) -> "EvictingCache":
        """A new cache with some of the entries; this one stays as it is.

        Args:
            kept: for each layer [A, kv_heads, m] int64; a cache of one prompt becomes A rows.

        Raises:
            ValueError: if the layers keep unequally many, or as `EvictingLayer.evict`.
        """
        numbers = sorted({indices.shape[-1] for indices in kept})
        if len(numbers) > 1:
            raise ValueError(f"layers keep {numbers} entries; all must keep equally many")
        cache = self._view()
        for layer, indices in zip(cache.layers, kept, strict=True):
            layer.evict(indices)
        return cache

    def copy(self) -> "EvictingCache":
        """A new cache with all of the entries."""
        cache = self._view()
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
        return cache

    def _view(self) -> "EvictingCache":
        """A new cache of the same tensors."""
        cache = EvictingCache(len(self.layers))
        for layer, source in zip(cache.layers, self.layers, strict=True):
            layer.lazy_initialization(source.keys, source.values)
            layer.keys, layer.values = source.keys, source.values
            layer.seen, layer.settled = source.seen, source.settled
        return cache
