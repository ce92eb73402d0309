"""Arms: a compression method, and how much it may keep.

"h2o" keeps as many entries as the problem's budget says, "h2o@32" keeps 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from marlserve.envs.sims.kv_compression import methods
from marlserve.envs.sims.kv_compression.methods import Method

# Who votes: from everybody, by slow forgetting, to a hard window; windows from 4 to 160 queries.
GRID = methods.grid((0.0, 0.01, 0.03, 0.1, 10.0), (4, 16, 48, 96, 160))


@dataclass(frozen=True)
class Arm:
    name: str
    method: Method
    budget: int | None  # entries in each layer and KV head; None: the problem's

    def entries(self, num_tokens: int, budget: int) -> int:
        """Entries that it keeps of a prompt in each layer and KV head."""
        if not self.method.evicts:
            return num_tokens
        return min(num_tokens, budget if self.budget is None else self.budget)


def parse(name: str) -> Arm:
    """The arm of a name.

    Raises:
        ValueError: for an unknown method, a bad parameter, a budget below 1, or one of a method
            that evicts nothing.
    """
    method, at, budget = name.partition("@")
    if at and not (budget.isdecimal() and int(budget) >= 1):
        raise ValueError(f"arm {name!r} has budget {budget!r}; it must be at least 1 entry")
    arm = Arm(name, methods.canonical(methods.parse(method)), int(budget) if at else None)
    if at and not arm.method.evicts:
        raise ValueError(f"arm {name!r} has a budget, but evicts nothing; allowed is {method!r}")
    return arm


def distinct(names: Sequence[str], budgets: Sequence[int]) -> tuple[Arm, ...]:
    """The arms of these names, in a problem with these budgets.

    Raises:
        ValueError: as `parse`; for none, and for two names of one arm.
    """
    if not names:
        raise ValueError("arms is empty; name at least one")
    everywhere = budgets[0] if len(set(budgets)) == 1 else None
    found: dict[tuple, Arm] = {}
    for arm in map(parse, names):
        same = found.setdefault((arm.method, arm.budget or everywhere), arm)
        if same is not arm:
            raise ValueError(f"arms {same.name!r} and {arm.name!r} do the same: leave one out")
    return tuple(found.values())
