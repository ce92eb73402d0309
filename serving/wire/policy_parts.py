"""A policy file in parts, none of which is large: so it goes through any limit of size.

The manifest has the checksum of the weights, which are looked at when they are put together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from marlserve.policies.export import file
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.wire import trainer_pb2 as pb

_PART_BYTES = 256 * 1024
_MOST_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Published:
    """A version, as bytes.

    Attributes:
        epsilon: how many actions are drawn from all alike.
        noises: by the name of the network, how its numbers are drawn.
    """

    run: str
    version: int
    manifest: bytes
    weights: bytes
    epsilon: float
    noises: Mapping[str, Noise] = field(default_factory=dict)

    def policy_file(self) -> PolicyFile:
        """What it is.

        Raises:
            ValueError: if it is broken or changed.
        """
        return file.decoded(self.manifest, self.weights)

    def parts(self) -> Iterator[pb.PolicyPart]:
        """As it is sent."""
        head: pb.PolicyHead | None = pb.PolicyHead(
            run=self.run,
            version=self.version,
            manifest=self.manifest,
            epsilon=self.epsilon,
            noises=noise_messages(self.noises),
        )
        for start in range(0, max(len(self.weights), 1), _PART_BYTES):
            end = start + _PART_BYTES
            is_last = end >= len(self.weights)
            yield pb.PolicyPart(head=head, weights=self.weights[start:end], is_last=is_last)
            head = None


@dataclass
class Assembly:
    """Puts parts together, one after the other."""

    _head: pb.PolicyHead | None = None
    _weights: list[bytes] = field(default_factory=list)

    def add(self, part: pb.PolicyPart) -> Published | None:
        """One part more; the policy, if it is the last one.

        Raises:
            ValueError: if the parts are in disorder, or too many.
        """
        if part.HasField("head"):
            self._head, self._weights = part.head, []
        if self._head is None:
            raise ValueError("a policy begins without its head")
        self._weights.append(part.weights)
        if sum(map(len, self._weights)) > _MOST_BYTES:
            raise ValueError(f"a policy has more than {_MOST_BYTES} bytes")
        if not part.is_last:
            return None
        head, self._head = self._head, None
        what = head.manifest, b"".join(self._weights), head.epsilon, noises_of(head.noises)
        return Published(head.run, head.version, *what)


def noise_messages(noises: Mapping[str, Noise]) -> dict[str, pb.Noise]:
    """As they are told."""
    return {
        name: pb.Noise(
            mean=noise.mean,
            log_deviation=noise.log_deviation,
            log_deviations=noise.log_deviations,
            squash=noise.squash,
        )
        for name, noise in noises.items()
    }


def noises_of(messages: Mapping[str, pb.Noise]) -> dict[str, Noise]:
    """What was told.

    Raises:
        ValueError: for an unknown squash.
    """
    return {
        name: Noise(said.mean, said.log_deviation, tuple(said.log_deviations), said.squash)
        for name, said in messages.items()
    }
