"""A replay of sequences: a ring of arrays, overwritten from its oldest row.

Storage is one array per column with a leading axis of `capacity` rows, made when the first rows
arrive. A sample is a single indexing operation per column, drawn uniformly with replacement and
trimmed to its longest row.
"""

import numpy as np

from marlserve.policies.sampling.sequences import Sequences, time_axis


class SequenceReplay:
    """The newest `capacity` rows.

    Args:
        capacity: how many rows are kept.
        seed: of the generator that draws the samples.

    Raises:
        ValueError: if the capacity is not positive.
    """

    def __init__(self, capacity: int, seed: int | None = None):
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1 row")
        self.capacity = capacity
        self._generator = np.random.default_rng(seed)
        self._columns: dict[str, np.ndarray] = {}
        self._num_steps = 0  # L of the storage
        self._size = 0
        self._next = 0  # the row to overwrite next

    def __len__(self) -> int:
        """Number of rows in store."""
        return self._size

    def add(self, sequences: Sequences) -> None:
        """Store all rows; the oldest ones make room for them.

        Raises:
            ValueError: if the columns, their shapes or their types are not those of the rows in
                store. L may differ: the storage grows to the longest.
        """
        if not len(sequences):
            return
        if len(sequences) > self.capacity:
            sequences = sequences.rows(slice(-self.capacity, None))
        self._fit(sequences)
        rows = (self._next + np.arange(len(sequences))) % self.capacity
        for name, column in sequences.columns.items():
            length = time_axis(name, sequences.num_steps)
            if length is None:
                self._columns[name][rows] = column
            else:
                self._columns[name][rows, :length] = column
                self._columns[name][rows, length:] = 0
        self._next = int(rows[-1] + 1) % self.capacity
        self._size = min(self._size + len(sequences), self.capacity)

    def sample(self, num_rows: int) -> Sequences:
        """`num_rows` rows, uniformly with replacement, trimmed to the longest of them.

        Raises:
            ValueError: if nothing is stored, or `num_rows` is not positive.
        """
        if num_rows < 1:
            raise ValueError(f"num_rows is {num_rows}; it must be at least 1")
        if not self._size:
            raise ValueError("the replay is empty: add sequences before sampling")
        index = self._generator.integers(self._size, size=num_rows)
        return Sequences(self._columns).rows(index)

    def everything(self) -> Sequences:
        """All rows in store, not copied; their order is no matter.

        Raises:
            ValueError: if nothing is stored.
        """
        if not self._size:
            raise ValueError("the replay is empty: add sequences before reading them")
        return Sequences(self._columns).rows(slice(0, self._size))

    def get_state(self) -> dict:
        """Everything, for a checkpoint: the filled rows, the position and the generator."""
        return {
            "capacity": self.capacity,
            "next": self._next,
            "columns": self.everything().columns if self._size else {},
            "generator": self._generator.bit_generator.state,
        }

    def set_state(self, state: dict) -> None:
        """Continue from what `get_state` gave.

        Raises:
            ValueError: if it is the state of a replay with another capacity.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the state is of a replay with capacity {state['capacity']}; "
                f"this one has {self.capacity}"
            )
        self._columns, self._num_steps, self._size, self._next = {}, 0, 0, 0
        if state["columns"]:
            self.add(Sequences(state["columns"]))
        self._next = state["next"]
        self._generator.bit_generator.state = state["generator"]

    def _fit(self, sequences: Sequences) -> None:
        """Make the storage on first use, widen it to a longer L, or say why rows do not fit."""
        if self._columns and self._columns.keys() != sequences.columns.keys():
            raise ValueError(
                f"columns are {sorted(sequences.columns)}; in store are {sorted(self._columns)}"
            )
        num_steps = max(self._num_steps, sequences.num_steps)
        for name, column in sequences.columns.items():
            first = 1 if time_axis(name, num_steps) is None else 2  # axes before one item's own
            stored = self._columns.get(name)
            if stored is not None and (
                stored.shape[first:] != column.shape[first:] or stored.dtype != column.dtype
            ):
                raise ValueError(
                    f"column {name!r} holds {column.dtype}{list(column.shape[first:])}; "
                    f"in store is {stored.dtype}{list(stored.shape[first:])}"
                )
        if num_steps == self._num_steps:
            return
        for name, column in sequences.columns.items():
            length = time_axis(name, num_steps)
            stored = self._columns.get(name)
            if length is None:
                if stored is None:
                    self._columns[name] = np.zeros((self.capacity, *column.shape[1:]), column.dtype)
                continue
            wide = np.zeros((self.capacity, length, *column.shape[2:]), column.dtype)
            if stored is not None:
                wide[:, : stored.shape[1]] = stored
            self._columns[name] = wide
        self._num_steps = num_steps
