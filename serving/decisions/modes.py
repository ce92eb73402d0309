"""Which requests are the policy's: a share of the sessions, by a hash, always the same ones.

| mode        | the policy's share | the others                                       |
| ----------- | ------------------ | ------------------------------------------------ |
| `heuristic` | none, nor asked    | the heuristic                                    |
| `shadow`    | none, but asked    | the heuristic; what the policy says is logged    |
| `canary`    | a tenth            | the heuristic                                    |
| `ab`        | half               | the heuristic                                    |
| `policy`    | 95 %               | the heuristic: without them nobody could compare |
"""

from dataclasses import dataclass
from hashlib import blake2b

from marlserve.envs import checks

SHARES = {"heuristic": 0.0, "shadow": 0.0, "canary": 0.1, "ab": 0.5, "policy": 0.95}


@dataclass(frozen=True)
class Mode:
    """A mode, with a share other than its own for `canary`, `ab` and `policy` where one is given.

    Raises:
        ValueError: for an unknown mode, and a share that is none or that the mode does not have.
    """

    name: str = "policy"
    share: float | None = None
    salt: str = ""  # another one picks other sessions

    def __post_init__(self) -> None:
        checks.choice(self, "name", SHARES)
        if self.share is not None:
            checks.number(self, "share", 0.0, 1.0)
            has_one = SHARES[self.name] > 0.0
            checks.require(self, "share", has_one, f"None in mode {self.name!r}")

    @property
    def policy_share(self) -> float:
        return SHARES[self.name] if self.share is None else self.share

    def place(self, session: str) -> float:
        """Where in [0, 1) a session is; those below the share are the policy's."""
        digest = blake2b((self.salt + session).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2.0**64
