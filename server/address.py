"""Addresses to listen on, and where a server that listens there is reached from this machine."""

import ipaddress


def is_everywhere(host: str) -> bool:
    """Whether this address to listen on means every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def reached(host: str) -> str:
    """Where to ask a server that may listen on every address."""
    if not is_everywhere(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def url_of(host: str, port: int) -> str:
    """An address and a port, for HTTP."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
