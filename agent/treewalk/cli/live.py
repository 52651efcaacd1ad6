"""The tree that fills in while it is walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree as RichTree

from treewalk.model.diagnosis import Measurement
from treewalk.model.events import Event, Measured, NodeJudged, NodeStarted, TreeOpened
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict

_MARKS = {
    Status.HEALTHY: ("✓", "green"),
    Status.DEGRADED: ("!", "yellow"),
    Status.UNHEALTHY: ("✗", "bold red"),
    Status.UNKNOWN: ("?", "magenta"),
}
_SLA_STYLES = {"met": "green", "violated": "bold red", "unknown": "magenta"}
_MOST_ROWS = 60  # a larger tree shows what is not healthy


class _Walk:
    def __init__(self) -> None:
        self.tree: Tree | None = None
        self.measured: Measurement | None = None
        self.started: set[str] = set()
        self.verdicts: dict[str, Verdict] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, TreeOpened):
            self.tree = event.tree
        elif isinstance(event, Measured):
            self.measured = event.measurement
        elif isinstance(event, NodeStarted):
            self.started.add(event.node)
        elif isinstance(event, NodeJudged):
            self.verdicts[event.node] = event.verdict

    def __rich__(self) -> RichTree | Text:
        if self.tree is None:
            return Text("reading the workspace …", style="dim")
        root = RichTree(self._title(self.tree))
        branches = {0: root}
        large = len(self.tree.nodes) > _MOST_ROWS
        for name, depth, again in self.tree.draw_order():
            verdict = self.verdicts.get(name)
            if large and (verdict is None or verdict.status is Status.HEALTHY) and depth > 1:
                branches[depth] = branches[depth - 1]
                continue
            branches[depth] = branches[depth - 1].add(self._row(name, again))
        return root

    def _title(self, tree: Tree) -> Text:
        title = Text(tree.sla.name, style="bold")
        if self.measured is not None:
            title.append(f"  {self.measured.status}", style=_SLA_STYLES[self.measured.status])
            title.append(f"  {self.measured.reason}", style="dim")
        return title

    def _row(self, name: str, again: bool) -> Text:
        verdict = self.verdicts.get(name)
        if verdict is None:
            waiting = "… " if name in self.started else "· "
            return Text(waiting + name, style="dim")
        mark, style = _MARKS[verdict.status]
        row = Text.assemble((f"{mark} ", style), name)
        if not again:
            row.append("  " + "".join(c if c.isprintable() else " " for c in verdict.reason)[:100], style="dim")
        return row


@contextmanager
def live_tree(*, color: bool) -> Iterator[Callable[[Event], None]]:
    """A live tree on stderr for as long as the context lasts; yields what takes the events."""
    console = Console(stderr=True, no_color=not color or None, highlight=False)
    walk = _Walk()
    with Live(walk, console=console, refresh_per_second=8):
        yield walk.take
