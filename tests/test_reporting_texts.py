"""What templates of reports print stays text in every form."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from treewalk.reporting.environment import code_for_markdown, for_markdown
from treewalk.reporting.wording import plain

MARKDOWN = MarkdownIt("js-default", {"html": True})
JOINER = "\u2060"
NASTY = (
    "[x](javascript:alert(1))", "![x](http://e.example/p.png)", "# big", "- list", "1. one", "```sh", "~~~", "> said",
    "<b>x</b>", "<!here>", "@channel", "&lt;script&gt;", "https://e.example/x", "www.e.example", "|a|b|", "---", "===",
    "**b**", "__init__", "a_b_c", "`code`", "\\", "\\[x](y)", "<http://e.example>", "    indented", "[x]: http://e.e",
    "+ plus", "a\nb\r\n# c", "\x1b[31mred", "\u202eright", "~~gone~~", "#12 owner/name#3", "$x$", "*", "_", "&amp;",
    "1)", "",
)  # fmt: skip
texts = st.one_of(
    st.text(),
    st.sampled_from(NASTY),
    st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=4)), max_size=5).map("".join),
)


def tokens(markdown: str) -> list:
    found = []
    for token in MARKDOWN.parse(markdown):
        found += [token, *(token.children or [])]
    return found


@given(texts, st.sampled_from(["", "before ", "**bold** "]), st.sampled_from(["", " after"]))
@example("1\\.", "", "")
def test_text_in_markdown_is_read_back_as_the_same_text(text: str, before: str, after: str) -> None:
    found = tokens(before + for_markdown(text) + after)
    read = "".join(t.content for t in found if t.type in ("text", "text_special"))
    assert plain(read.replace(JOINER, "")) == plain((before.replace("*", "") + plain(text) + after).replace(JOINER, ""))
    allowed = {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    allowed |= {"strong_open", "strong_close"} if "**" in before else set()
    assert {t.type for t in found} <= allowed


@given(texts)
def test_code_in_markdown_is_one_piece_of_code_even_in_a_table(text: str) -> None:
    found = [t.type for t in tokens(f"|a|b|\n|-|-|\n|{code_for_markdown(text)}|end|\n")]
    assert found.count("td_open") == 2
    assert found.count("code_inline") == (1 if plain(text) else 0)
    assert not {"link_open", "image", "html_inline"} & set(found)


@pytest.mark.parametrize("call", ["@channel", "<!here>", "<@U123>", "https://e.example", "www.e.example", "#12"])
def test_nobody_is_called_and_nothing_becomes_a_link_in_clients_that_look_at_bare_text(call: str) -> None:
    assert call not in for_markdown(f"see {call}")
