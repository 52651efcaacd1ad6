"""What docs/ says of the program is what the program says of itself."""

import importlib.util
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("make_docs", REPO / "scripts/make_docs.py")
assert spec is not None
assert spec.loader is not None
make_docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_docs)


@pytest.mark.parametrize("name", sorted(make_docs.generated()))
def test_the_generated_docs_are_current(name: str) -> None:
    assert (REPO / "docs" / name).read_text() == make_docs.generated()[name], "run `make docs`"


def test_every_page_that_the_readme_names_is_there() -> None:
    text = (REPO / "README.md").read_text()
    for target in {part.split(")")[0] for part in text.split("](")[1:]}:
        assert (REPO / target).exists(), target
