"""The HTTP side: webhooks in, incidents and metrics out, switches. `build` puts the application together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from treewalk import __version__
from treewalk.errors import TreewalkError, UsageError
from treewalk.model.redact import redact
from treewalk.server import api_content, api_health, api_incidents, api_switches, api_telegram, api_webhooks
from treewalk.server.keys import keys_of
from treewalk.server.pages import pages
from treewalk.server.routes import Bounded
from treewalk.server.service import Service
from treewalk.settings import ServerSettings

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations

__all__ = ["Service", "build"]


def build(
    operations: Operations,
    settings: ServerSettings,
    *,
    opened: Callable[[Sequence[int]], None] = lambda numbers: None,
    ready: Callable[[], str | None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The application. `ready` says why it is not, or None; `say` takes a line for the log.

    Raises SettingsError for a secret that is missing.
    """
    service = Service(operations, settings, keys_of(settings, operations.app.resolve), opened, say)
    # Nothing is served that a browser would run: the interactive pages load their code from elsewhere.
    api = FastAPI(title="treewalk", version=__version__, docs_url=None, redoc_url=None)
    api.state.service = service
    api.add_middleware(Bounded, limit=lambda: service.settings.max_body)
    api.add_exception_handler(UsageError, _unknown)
    api.add_exception_handler(TreewalkError, _unavailable)
    api_webhooks.add(api, service)
    api_telegram.add(api, service)
    api_health.add(api, service, ready)
    api_incidents.add(api, service)
    api_content.add(api, service)
    api_switches.add(api, service)
    api.router.default = pages(service, ready)  # whatever is none of the above is a page, or is told so as one
    return api


async def _unknown(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": redact(str(error))}, 404)


async def _unavailable(request: Request, error: Exception) -> Response:
    """503, which makes a sender try again."""
    return JSONResponse({"detail": redact(str(error))}, 503, {"Retry-After": "5"})
