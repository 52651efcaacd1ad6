"""checks/*.py import the standard library, treewalk, and what their extra brings; nothing else at module level."""

import ast
import sys
from pathlib import Path

import pytest

CHECKS = sorted((Path(__file__).parent.parent / "checks").glob("*.py"))
LIBRARIES = {
    "http": {"httpx"},
    "process": {"supervisor"},
    "container": {"docker", "requests"},
    "redis": {"redis"},
    "consumer_lag": {"redis", "confluent_kafka"},
    "topic_freshness": {"redis", "confluent_kafka"},
    "sql": {"sqlalchemy"},
}


@pytest.mark.parametrize("path", CHECKS, ids=lambda p: p.stem)
def test_a_check_imports_only_what_it_may(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        for name in (n.split(".")[0] for n in names):
            allowed = name in sys.stdlib_module_names or name == "treewalk"
            assert allowed or (id(node) not in top and name in LIBRARIES.get(path.stem, set())), f"{path.name}: {name}"
