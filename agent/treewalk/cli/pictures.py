"""Trees and impacts as pictures."""

from __future__ import annotations

from treewalk.model.picture import Box, Picture, dot, mermaid, svg
from treewalk.model.tree import Forest, Node, Sla, Tree
from treewalk.stages.impact import Impact

_DRAW = {"mermaid": mermaid, "dot": dot, "svg": svg}


def draw(picture: Picture, format: str) -> str:
    """A picture in one of the formats mermaid, dot, svg."""
    return _DRAW[format](picture)


def tree_picture(tree: Tree) -> Picture:
    """The SLA on top, every node at its depth."""
    boxes = [_sla_box(tree.sla), *(_node_box(n) for n in tree.nodes.values())]
    edges = [(f"sla:{tree.sla.name}", child) for child in tree.sla.depends_on]
    edges += [(n.name, child) for n in tree.nodes.values() for child in n.depends_on]
    return Picture(boxes, edges, {f"sla:{tree.sla.name}": 0, **tree.depth})


def impact_picture(forest: Forest, found: Impact) -> Picture:
    """The affected SLAs on top, the nodes that are asked about at the bottom."""
    inside = {*found.above, *found.nodes}
    depth = _heights(forest, found)
    most = max(depth.values(), default=0) + 1
    boxes = [_sla_box(a.sla) for a in found.slas]
    boxes += [_node_box(forest.nodes[name], target=name in found.nodes) for name in (*found.above, *found.nodes)]
    edges = [(f"sla:{a.sla.name}", n) for a in found.slas for n in a.sla.depends_on if n in inside]
    edges += [(name, child) for name in found.above for child in forest.nodes[name].depends_on if child in inside]
    levels = {name: most - height for name, height in depth.items()}
    return Picture(boxes, edges, {**{f"sla:{a.sla.name}": 0 for a in found.slas}, **levels})


def _heights(forest: Forest, found: Impact) -> dict[str, int]:
    """How far above the nodes in question each node stands; `above` comes nearest first."""
    heights = dict.fromkeys(found.nodes, 0)
    for name in found.above:
        heights[name] = 1 + min(heights[c] for c in forest.nodes[name].depends_on if c in heights)
    return heights


def _sla_box(sla: Sla) -> Box:
    limit = str(sla.threshold) if sla.threshold else "against its own past"
    return Box(f"sla:{sla.name}", sla.name, limit, "sla")


def _node_box(node: Node, *, target: bool = False) -> Box:
    return Box(node.name, node.name, node.type, "target" if target else "external" if node.external else "node")
