"""What is kept is redacted, and still data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.redact import MARK
from treewalk.store.cleaning import cleaned

TEXT = st.text(max_size=60) | st.sampled_from(
    ['password="a b', "token: 'x", 'Bearer abc123def456"', "sk-a1b2c3d4e5f6g7h8i9"]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(["password", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(DATA)
def test_it_is_still_the_data_that_it_was(data: object) -> None:
    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else None

    found = cleaned(data)
    json.dumps(found)
    assert shape(found) == shape(data)


@pytest.mark.parametrize(
    "data",
    [
        {"password": "hunter2hunter2"},
        {"deep": [{"params": {"password": "hunter2hunter2", "n": 1}}]},
        {"name": "API_TOKEN", "value": "hunter2hunter2"},
        {"password": 'hunter2hunter2" and more', "note": 'a "quoted" word'},
        {"line": "login with password=hunter2hunter2"},
    ],
)
def test_no_secret_is_kept(data: object) -> None:
    text = json.dumps(cleaned(data))
    assert "hunter2" not in text
    assert MARK in text
