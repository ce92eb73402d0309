"""How numbers are drawn to explore, by whoever learns: normal, around what a network puts out.

It is no part of a policy file, which acts greedily; what it takes from the network is the output of
layers that the file names.
"""

from dataclasses import dataclass
from math import prod

from marlserve.policies.export.network import Network
from marlserve.policies.export.spaces import Numbers

SQUASHES = ("", "tanh", "clip")


@dataclass(frozen=True)
class Noise:
    """See the module.

    Attributes:
        mean: the layer that puts the means out, [D].
        log_deviation: the layer for the logarithms of the deviations, [D]; "": they are
        log_deviations: these, D of them.
        squash: what follows, to be the numbers that the network could have put out: "" nothing,
            "tanh", or "clip" to -1 and 1.

    Raises:
        ValueError: on construction, for another squash.
    """

    mean: str
    log_deviation: str = ""
    log_deviations: tuple[float, ...] = ()
    squash: str = ""

    def __post_init__(self) -> None:
        if self.squash not in SQUASHES:
            raise ValueError(f"squash is {self.squash!r}; allowed are {SQUASHES}")

    def check(self, network: Network) -> None:
        """See that the network has what it takes.

        Raises:
            ValueError: if it has not.
        """
        actions = network.actions
        if not isinstance(actions, Numbers):
            raise ValueError(f"{network.action_space} has no numbers that could be drawn")
        sizes = {layer.name: layer.shape for layer in network.layers}
        names = [self.mean, *([self.log_deviation] if self.log_deviation else [])]
        count = len(actions.low)
        for name in names:
            if name not in sizes or prod(sizes[name]) != count:
                raise ValueError(f"no layer {name!r} puts {count} numbers out")
        if not self.log_deviation and len(self.log_deviations) != count:
            raise ValueError(f"there are {len(self.log_deviations)} deviations of {count} numbers")
