"""Which headers go on, to a replica and back."""

from marlserve.serving.gateway.connection import Headers
from marlserve.serving.gateway.settings import Tokens

# Of one connection, not of what is sent by it (RFC 9110, section 7.6.1).
_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
    *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
}
_WRITTEN_ANEW = {b"host", b"content-length", b"expect"}
_WITH_TOKEN = _WRITTEN_ANEW | {b"authorization"}


def end_to_end(headers: Headers) -> Headers:
    """Those that are not of one connection alone; names are in lower case."""
    found = [header for header in headers if header[0] not in _HOP_BY_HOP]
    if len(found) == len(headers):
        return found
    named = b",".join(value for name, value in headers if name == b"connection").lower()
    also = {name.strip() for name in named.split(b",")}
    return [header for header in found if header[0] not in also]


def to_replica(headers: Headers, tokens: Tokens) -> Headers:
    """What a replica is told, with a token of its own if there is one; never with the gateway's."""
    dropped = _WITH_TOKEN if tokens.callers or tokens.replicas else _WRITTEN_ANEW
    passed = [header for header in end_to_end(headers) if header[0] not in dropped]
    if tokens.replicas:
        passed.append((b"authorization", b"Bearer " + tokens.replicas.encode()))
    return passed
