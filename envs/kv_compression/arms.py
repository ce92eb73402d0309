"""Arms: a compression method, and how much it may keep.

"h2o" keeps as many entries as the problem's budget says, "h2o@32" keeps 32, and "h2o@0.1" a tenth
of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from marlserve.envs.sims.kv_compression import methods
from marlserve.envs.sims.kv_compression.methods import Method

# Who votes: from everybody, by slow forgetting, to a hard window; windows from 4 to 160 queries.
GRID = methods.grid((0.0, 0.01, 0.03, 0.1, 10.0), (4, 16, 48, 96, 160))
# For prompts of a thousand tokens: fewer sigmoids, and what is in use.
REAL = (
    *("h2o", "sigmoid_0.01_16", "sigmoid_0.01_256", "sigmoid_0.1_16", "sigmoid_0.1_64"),
    *("sigmoid_10_4", "sigmoid_10_64", "sigmoid_10_256", "a2sf_0.99", "tova", "window_4"),
    *("snapkv_16", "snapkv_64", "pyramidkv_16", "ada_snapkv_16", "knorm", "keydiff"),
    *("expected", "ada_expected"),
)


@dataclass(frozen=True)
class Arm:
    name: str
    method: Method
    budget: float | None  # as in the Config; None: the problem's

    def entries(self, num_tokens: int, budget: float) -> int:
        """Entries that it keeps of a prompt in each layer and KV head."""
        if not self.method.evicts:
            return num_tokens
        return entries(num_tokens, budget if self.budget is None else self.budget)


def entries(num_tokens: int, budget: float) -> int:
    """Entries of a prompt that a budget allows: a whole number, or, below 1, a share of them."""
    if budget < 1:
        return max(1, round(budget * num_tokens))
    return min(num_tokens, int(budget))


def parse(name: str) -> Arm:
    """The arm of a name.

    Raises:
        ValueError: for an unknown method, a bad parameter, a budget below 1 that is no share, or
            one of a method that evicts nothing.
    """
    method, at, text = name.partition("@")
    budget = _budget(text) if at else None
    if budget == 0:
        raise ValueError(
            f"arm {name!r} has budget {text!r}; it must be at least 1 entry, or a share below 1"
        )
    arm = Arm(name, methods.canonical(methods.parse(method)), budget)
    if at and not arm.method.evicts:
        raise ValueError(f"arm {name!r} has a budget, but evicts nothing; allowed is {method!r}")
    return arm


def _budget(text: str) -> float:
    """A whole number, or a share such as 0.05; 0 for anything else."""
    whole, point, rest = text.partition(".")
    if not whole.isdecimal() or (point and not rest.isdecimal()):
        return 0
    return (float(text) if int(whole) == 0 else 0) if point else int(text)


def distinct(names: Sequence[str], budgets: Sequence[float]) -> tuple[Arm, ...]:
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
