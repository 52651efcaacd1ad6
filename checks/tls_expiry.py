"""A certificate that has to be valid for a while yet."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from treewalk import (
    Address,
    Node,
    Probe,
    Seconds,
    Verdict,
    address_problem,
    check,
    degraded,
    format_duration,
    healthy,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    whole = params["address"] or next((v for f in ("address", "url", "host") if (v := node.fields.get(f))), None)
    return address_problem(str(whole)) if whole else "no address: give the healthcheck `address: host:port`"


@check("tls_expiry", live=True, needs=_needs)
async def tls_expiry(
    probe: Probe,
    *,
    address: Address | None = None,
    server_name: str | None = None,
    ca_file: str | None = None,
    warn_before: Seconds = 14 * 86400.0,
    critical_before: Seconds = 3 * 86400.0,
) -> Verdict:
    """The TLS certificate of a server is trusted and does not expire soon.

    address          host or host:port (443); default: fields of the node: address, url, or host and port
    server_name      the name that the certificate has to be for; default: the host
    ca_file          a PEM file of authorities to trust instead of the system's
    warn_before      closer to its end than this is degraded
    critical_before  closer than this is unhealthy
    """
    whole = address or probe.field("address") or probe.field("url") or probe.field("host")
    if not whole:
        return unknown("no address: give the healthcheck `address: host:port`")
    parts = urlsplit(str(whole) if "://" in str(whole) else f"//{whole}")
    host, port = parts.hostname or "", parts.port or int(probe.field("port") or 443)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        return unknown(f"the ca_file {ca_file} cannot be read: {error.strerror or error}")
    try:
        async with asyncio.timeout(probe.timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name or host)
    except TimeoutError:
        return unhealthy(f"{host}:{port} gives no answer within {format_duration(probe.timeout)}")
    except ssl.SSLCertVerificationError as error:
        return unhealthy(f"the certificate of {host}:{port} is refused: {error.verify_message}")
    except ssl.SSLError as error:
        return unhealthy(f"{host}:{port} does not speak TLS: {error.reason or 'handshake failed'}")
    except OSError:
        return unhealthy(f"{host}:{port} does not accept a connection")
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
    reason = f"the certificate of {host}:{port} is valid for {format_duration(left)}"
    observed = format_duration(left)
    if left < critical_before:
        return unhealthy(reason, observed=observed, expected=f"> {format_duration(critical_before)}")
    if left < warn_before:
        return degraded(reason, observed=observed, expected=f"> {format_duration(warn_before)}")
    return healthy(reason, observed=observed)
