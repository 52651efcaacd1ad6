"""Write what docs/ holds of the program itself: the JSON Schemas of the workspace's files. Run by `make docs`."""

from __future__ import annotations

import json
from pathlib import Path

from treewalk.content.checks import builtin_checks
from treewalk.content.schema import schemas

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Write docs/schemas/<kind>.json for every kind of file."""
    folder = DOCS / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for kind, schema in schemas(builtin_checks()).items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{kind}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
