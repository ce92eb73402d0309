"""A policy file in parts, none of which is large: so it goes through any limit of size.

The manifest has the checksum of the weights, which are looked at when they are put together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from marlserve.policies.export import file
from marlserve.policies.export.network import PolicyFile
from marlserve.serving.wire import trainer_pb2 as pb

_PART_BYTES = 256 * 1024
_MOST_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Published:
    """A version, as bytes.

    Attributes:
        epsilon: how many actions are drawn from all alike.
    """

    run: str
    version: int
    manifest: bytes
    weights: bytes
    epsilon: float

    def policy_file(self) -> PolicyFile:
        """What it is.

        Raises:
            ValueError: if it is broken or changed.
        """
        return file.decoded(self.manifest, self.weights)

    def parts(self) -> Iterator[pb.PolicyPart]:
        """As it is sent."""
        head: pb.PolicyHead | None = pb.PolicyHead(
            run=self.run, version=self.version, manifest=self.manifest, epsilon=self.epsilon
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
        return Published(
            head.run, head.version, head.manifest, b"".join(self._weights), head.epsilon
        )
