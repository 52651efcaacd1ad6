"""Trees written in one line a node, for tests of what happens to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.model.place import Place
from treewalk.model.quantity import parse_threshold
from treewalk.model.tree import CheckSpec, Forest, Node, Sla, Tree

HERE = Place("tree.yaml")


def make_tree(
    edges: Mapping[str, Sequence[str]], *, roots: Sequence[str] | None = None, threshold: str = "60s", **nodes: Any
) -> Tree:
    """`edges` maps a node to what it depends on; `nodes` gives fields of a Node by its name."""
    names = list(dict.fromkeys([*edges, *(child for below in edges.values() for child in below)]))
    below = {child for children in edges.values() for child in children}
    built = {
        name: Node(name=name, place=HERE, depends_on=tuple(edges.get(name, ())), **nodes.get(name, {}))
        for name in names
    }
    top = tuple(roots if roots is not None else [n for n in names if n not in below])
    sla = Sla("freshness", "age_seconds", parse_threshold(threshold), None, None, top, HERE)
    return Forest({"freshness": sla}, built).tree("freshness")


def checked(method: str = "fake", **params: Any) -> dict[str, Any]:
    """Fields of a node with that healthcheck."""
    return {"healthcheck": CheckSpec(method, params, HERE)}
