"""Where the content that ships with treewalk stands."""

from __future__ import annotations

from pathlib import Path

import treewalk


def builtin_folder(kind: str) -> Path:
    """A content folder (checks, trees, known_errors, playbooks): in the wheel, or at the root of a checkout."""
    package = Path(treewalk.__file__).parent
    shipped = package / "builtin" / kind
    return shipped if shipped.is_dir() else package.parent.parent / kind
