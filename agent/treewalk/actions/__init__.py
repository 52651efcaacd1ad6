"""Changes to the world, one kind of target a file. Nothing here decides whether it may be done."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from treewalk.errors import UsageError

if TYPE_CHECKING:
    from treewalk.ports import Action

ACTIONS = {
    "process_restart": "process:ProcessRestart",
    "process_start": "process:ProcessStart",
    "process_stop": "process:ProcessStop",
    "container_restart": "containers:ContainerRestart",
    "docker_exec": "containers:DockerExec",
    "redis_kill_idle_clients": "redis:KillIdleClients",
    "redis_active_defrag": "redis:ActiveDefrag",
    "redis_max_memory": "redis:MaxMemory",
    "redis_skip_message": "redis:SkipMessage",
    "postgres_terminate": "postgres:Terminate",
    "http_call": "http:HttpCall",
    "file_rollback": "files:RollBack",
}
"""Every kind of action, and the class that does it; loaded when it is asked for."""


def action(kind: str) -> Action:
    """The action of that kind. Raises UsageError with suggestions."""
    if kind not in ACTIONS:
        from treewalk.model.tree import nearest

        raise UsageError(f"no action named {kind!r}", nearest(kind, ACTIONS))
    module, _, name = ACTIONS[kind].partition(":")
    found: Action = getattr(import_module(f"treewalk.actions.{module}"), name)()
    return found
