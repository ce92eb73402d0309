"""Envoy as a data plane: its access logs tell of flows, a file of endpoints sets their weights.

The connection manager and its router log into one file, at the end of a flow and at its beginning:

    access_log:    %ACCESS_LOG_TYPE% %REQ(X-REQUEST-ID)% %START_TIME(%s.%6f)%
                   %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %UPSTREAM_HOST% %RESPONSE_CODE%
    upstream_log:  the same, with flush_upstream_log_on_upstream_stream

each on one line, and Envoy starts with --file-flush-interval-msec 50: by default it keeps lines for
10 s. A file that is cut to nothing is read from its beginning again. The cluster has its endpoints
from a file (`path_config_source`, with `watched_directory`), of which the controller puts another
one in its place. Least request with unequal weights takes servers in turn, by deadlines, as often
as weight / (flows + 1) says, so that idle servers differ by their weights, too.
"""

import http.client
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import time

import numpy as np

from marlserve.serving.controller.data_plane import Flow, Seen, Unreachable

MOST_WEIGHT = 1_000
_LONGEST_S = 86_400.0
_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


class Envoy:
    """One process; see the module.

    Args:
        log: the file of its access logs.
        endpoints: the file that it watches.
        servers: their addresses, host:port, in the order of the weights.
        cluster: its name.
        admin: address of its administration, which tells whether it runs.
        timeout_s: within which that answers.
    """

    def __init__(
        self,
        log: str | Path,
        endpoints: str | Path,
        servers: Sequence[str],
        cluster: str = "servers",
        admin: str = "127.0.0.1:9901",
        timeout_s: float = 0.2,
    ):
        self._log, self._endpoints, self._cluster = Path(log), Path(endpoints), cluster
        self._servers = {name: index for index, name in enumerate(servers)}
        self._admin, self._timeout_s = admin, timeout_s
        self._offset, self._rest = 0, b""
        self._ongoing: dict[str, Flow] = {}  # by request; their durations are not known yet
        self._text, self._garbled = "", 0

    @property
    def lost(self) -> dict[str, int]:
        """Lines that say nothing that is known."""
        return Counter(garbled=self._garbled)

    def look(self) -> Seen:
        """See `DataPlane`."""
        self._ask()
        completed: list[Flow] = []
        failed: list[Flow] = []
        for line in self._lines():
            try:
                self._add(line.decode("ascii").split(), completed, failed)
            except (ValueError, KeyError):
                self._garbled += 1
        now_s = time()
        ongoing = [
            flow._replace(duration_s=max(now_s - flow.began_s, 0.0))
            for flow in self._ongoing.values()
        ]
        return Seen(completed, failed, ongoing, now_s)

    def apply(self, weights: np.ndarray) -> None:
        """See `DataPlane`. The largest weight is MOST_WEIGHT; a server of weight 0 drains."""
        whole = np.maximum(np.rint(weights / weights.max() * MOST_WEIGHT), 1).astype(int)
        text = assignment(self._cluster, list(self._servers), whole.tolist(), weights <= 0.0)
        if text == self._text and self._endpoints.exists():
            return
        unfinished = self._endpoints.with_name(f".{self._endpoints.name}.new")
        try:
            unfinished.write_text(text)
            os.replace(unfinished, self._endpoints)
        except OSError as error:
            raise Unreachable(f"the endpoints of Envoy cannot be written: {error}") from error
        self._text = text

    def close(self) -> None:
        """Nothing is open."""

    def _lines(self) -> list[bytes]:
        """That are new, and whole."""
        try:
            if self._log.stat().st_size < self._offset:
                self._offset, self._rest = 0, b""
            with self._log.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:  # nothing was logged yet
            return []
        except OSError as error:
            raise Unreachable(f"the log of Envoy cannot be read: {error}") from error
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return lines

    def _add(self, words: list[str], completed: list[Flow], failed: list[Flow]) -> None:
        """What one line says."""
        kind, request, began, duration_us, server, status = words
        if kind == "UpstreamPoolReady":
            self._ongoing[request] = Flow(self._servers[server], float(began), 0.0)
        elif kind == "DownstreamEnd":
            self._ongoing.pop(request, None)
            if duration_us == "-" or status == "0":  # the client left
                return
            duration_s = int(duration_us) / 1e6
            if not 0.0 <= duration_s <= _LONGEST_S:
                raise ValueError(f"a flow of {duration_s} s")
            is_good = int(status) < 500
            index = self._servers[server] if is_good else self._servers.get(server, -1)
            flow = Flow(index, float(began), duration_s)
            (completed if is_good else failed).append(flow)

    def _ask(self) -> None:
        """Whether it runs; if not, it has no flows."""
        admin = http.client.HTTPConnection(self._admin, timeout=self._timeout_s)
        try:
            admin.request("GET", "/ready")
            admin.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            self._lines()  # its last words, of flows that are no more
            self._ongoing.clear()
            raise Unreachable(f"Envoy at {self._admin} does not answer: {error!r}") from error
        finally:
            admin.close()


def assignment(
    cluster: str,
    servers: Sequence[str],
    weights: Sequence[int],
    drains: Sequence[bool] | np.ndarray,
) -> str:
    """The file of endpoints.

    Args:
        servers: addresses, host:port.
        weights: from 1 on.
        drains: those that get no new flows.
    """
    endpoints = []
    for server, weight, drain in zip(servers, weights, drains, strict=True):
        host, _, port = server.rpartition(":")
        address = {"socket_address": {"address": host, "port_value": int(port)}}
        endpoint = {"endpoint": {"address": address}, "load_balancing_weight": weight}
        endpoints.append(endpoint | ({"health_status": "DRAINING"} if drain else {}))
    resource = {"@type": _TYPE, "cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}
    return json.dumps({"resources": [resource]})
