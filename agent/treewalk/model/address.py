"""Addresses of outside systems as people may see them: where something is, and nothing of how to get in."""

from __future__ import annotations

from urllib.parse import urlsplit

_UNREADABLE = "an address that cannot be read"
_PORTS = {
    "redis": 6379, "rediss": 6379, "http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "mysql": 3306,
    "mariadb": 3306,
}  # fmt: skip


def shown_address(url: str) -> str:
    """`host:port` of a URL, or its path where it names a file or a socket; never its user, password or query.

    The port that a scheme has by default is added. What is no URL, or one whose password spills over into its path, is
    not shown at all.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return _UNREADABLE
    if not parts.scheme or "://" not in url:
        return _UNREADABLE
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return parts.path[1:] or "SQLite in memory"
    if not parts.hostname:
        return parts.path if parts.path.strip("/") and "@" not in parts.path else _UNREADABLE
    if "@" in parts.path + parts.query + parts.fragment:
        return _UNREADABLE
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = port or _PORTS.get(scheme)
    return f"{host}:{port}" if port else host
