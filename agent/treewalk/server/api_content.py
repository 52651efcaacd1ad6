"""What the workspace says: SLAs and their trees, what breaks if a node goes, known errors."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query

from treewalk.model.tree import Sla
from treewalk.server import shapes
from treewalk.server.routes import Limit, bearer, reader, refusals
from treewalk.server.service import Service
from treewalk.stages import impact as stage
from treewalk.store.lessons import Lessons

Name = Annotated[str, Query(max_length=500, description="Only those whose name comes later.")]
Nodes = Annotated[list[str], Query(min_length=1, max_length=100, description="One node, or several that go together.")]


def add(api: FastAPI, service: Service) -> None:
    """Add these routes."""
    read = [Depends(reader(service)), Depends(bearer)]

    @api.get("/api/slas", dependencies=read, response_model=shapes.SlaList, responses=refusals(), tags=["content"])
    async def slas(after: Name = "", limit: Limit = 200) -> Any:
        """The SLAs by name."""
        forest = service.operations.app.workspace.forest
        names = sorted(name for name in forest.slas if name > after)
        rows = [_sla(service, forest.slas[name]) for name in names[:limit]]
        return {"slas": rows, "next": names[limit - 1] if len(names) > limit else None}

    @api.get(
        "/api/slas/{name}/tree",
        dependencies=read,
        response_model=shapes.SlaTree,
        responses=refusals(404),
        tags=["content"],
    )
    async def tree(name: str) -> Any:
        """Everything under an SLA, breadth first."""
        found = service.operations.app.workspace.forest.tree(name)
        nodes = [
            {
                "name": node.name,
                "type": node.type,
                "description": node.description,
                "depth": found.depth[node.name],
                "healthcheck": node.healthcheck.method if node.healthcheck else None,
                "depends_on": list(node.depends_on),
            }
            for node in found.nodes.values()
        ]
        return {"sla": _sla(service, found.sla), "depends_on": list(found.sla.depends_on), "nodes": nodes}

    @api.get("/api/impact", dependencies=read, response_model=shapes.Impact, responses=refusals(404), tags=["content"])
    async def impact(node: Nodes) -> Any:
        """Every SLA above a node, and a shortest way down to it."""
        app = service.operations.app
        return stage.document(stage.impact(app.workspace.forest, node, app.clock.now()))

    @api.get(
        "/api/known-errors",
        dependencies=read,
        response_model=shapes.KnownErrorList,
        responses=refusals(),
        tags=["content"],
    )
    async def known_errors(after: Name = "", limit: Limit = 200) -> Any:
        """Known errors by id, those of the files and those learned, with their record."""
        return await asyncio.to_thread(_known_errors, service, after, limit)


def _sla(service: Service, sla: Sla) -> dict[str, Any]:
    app = service.operations.app
    return {
        "name": sla.name,
        "description": sla.description,
        "limit": str(sla.threshold) if sla.threshold else None,
        "window": sla.window.name if sla.window else None,
        "open_now": sla.window is None or sla.window.contains(app.clock.now()),
        "owner": sla.owner,
        "tags": dict(sla.tags),
        "nodes": len(app.workspace.forest.tree(sla.name).nodes),
    }


def _known_errors(service: Service, after: str, limit: int) -> dict[str, Any]:
    app = service.operations.app
    known, statistics, records = app.known_errors(), app.store.statistics(), Lessons(app.database).records()
    ids = sorted(id for id in known if id > after)
    rows = []
    for id in ids[:limit]:
        error, seen, record = known[id], statistics.get(id, {}), records.get(id, {})
        rows.append(
            {
                "id": id,
                "trust": error.trust,
                "node": error.signature.node,
                "root_node": error.root_node,
                "root_cause": error.root_cause,
                "description": error.description,
                "category": error.category,
                "severity": error.severity,
                "fix": error.fix.type if error.fix else None,
                "fires": int(record.get("fires", 0)),
                "wins": int(record.get("wins", 0)),
                "occurrence_count": error.occurrence_count + int(seen.get("occurrence_count", 0)),
                "last_seen": seen.get("last_seen"),
            }
        )
    return {"known_errors": rows, "next": ids[limit - 1] if len(ids) > limit else None}
