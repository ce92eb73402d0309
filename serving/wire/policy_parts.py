"""A policy file in parts, none of which is large: so it goes through any limit of size.

The manifest has the checksum of the weights, which are looked at when they are put together. To
who has an earlier version only what changed is sent, if that is less; see `policy_diff`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from marlserve.policies.export import file
from marlserve.policies.export.network import PolicyFile
from marlserve.policies.export.noise import Noise
from marlserve.serving.wire import trainer_pb2 as pb
from marlserve.serving.wire.policy_diff import applied

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

    def parts(self, since: int = 0, changes: bytes = b"") -> Iterator[pb.PolicyPart]:
        """As it is sent.

        Args:
            since: a version that is there already; then
            changes: are sent in place of the weights.
        """
        head: pb.PolicyHead | None = pb.PolicyHead(
            run=self.run,
            version=self.version,
            manifest=self.manifest,
            epsilon=self.epsilon,
            noises=noise_messages(self.noises),
            since_version=since,
        )
        weights = changes if since else self.weights
        for start in range(0, max(len(weights), 1), _PART_BYTES):
            end = start + _PART_BYTES
            is_last = end >= len(weights)
            yield pb.PolicyPart(head=head, weights=weights[start:end], is_last=is_last)
            head = None


@dataclass
class Assembly:
    """Puts parts together, one after the other.

    Attributes:
        latest: the policy that was put together last.
    """

    latest: Published | None = None
    _head: pb.PolicyHead | None = None
    _weights: list[bytes] = field(default_factory=list)

    def add(self, part: pb.PolicyPart) -> Published | None:
        """One part more; the policy, if it is the last one.

        Raises:
            ValueError: if the parts are in disorder, or too many, or are what changed since a
                version that is not there.
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
        weights, before = b"".join(self._weights), self.latest
        if head.since_version:
            if before is None or (before.run, before.version) != (head.run, head.since_version):
                raise ValueError(f"version {head.since_version} is changed, and is not there")
            weights = applied(before.weights, weights)
        what = head.manifest, weights, head.epsilon, noises_of(head.noises)
        self.latest = Published(head.run, head.version, *what)
        return self.latest


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
