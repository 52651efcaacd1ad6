"""What is sent to Telegram: read as its server reads it, short enough, with nothing in it to be tapped."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from treewalk.integrations import telegram_texts as texts
from treewalk.integrations.telegram_html import CUT, clean, escaped, fit, length, shortened, units
from treewalk.model.acting import Approval
from treewalk.model.message import Message, Question, Rendered
from treewalk.sandbox.bot_html import BadHtml, parsed

DIGEST = "0123456789abcdef" * 4
TAGS = [
    "b",
    "strong",
    "i",
    "code",
    "pre",
    "blockquote",
    "a",
    "p",
    "h1",
    "ul",
    "li",
    "table",
    "tr",
    "td",
    "svg",
    "br",
    "x",
]
pieces = st.one_of(
    st.text(max_size=30),
    st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]),
    st.sampled_from(
        ["&lt;", "&amp;", "&nbsp;", "&", "<", ">", "\ud800", "\u202e", "😀", "/kill", "@ana", "<!--", "-->"]
    ),
    st.sampled_from(["<a href='https://x.example/?a=1&b=\"2\"'>", "<a href='javascript:alert(1)'>", "<script>", "<b"]),
)
hostile = st.lists(pieces, max_size=60).map("".join)


def message(html: str, title: str = "it broke", asked: bool = True) -> Message:
    question = Question(7, DIGEST, "restart <b>it</b>?", 1_700_000_000.0) if asked else None
    return Message("incident/7", "incident", Rendered(title, "plain", "", html), question=question)


@given(hostile, st.integers(60, 300))
@example("<b>" * 200 + "x" * 500, 100)
@example("<a href='https://e.example/" + "x" * 500 + "'>y", 80)
@settings(max_examples=300, deadline=None)
def test_whatever_is_put_in_comes_out_readable_and_short_enough(html: str, limit: int) -> None:
    shown, _ = parsed(fit(html, limit))
    assert units(shown) <= limit
    shown.encode()
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069]", shown)


@given(hostile, st.text(max_size=50))
@settings(max_examples=200, deadline=None)
def test_a_whole_message_is_readable_and_its_question_is_never_cut(html: str, title: str) -> None:
    shown, entities = parsed(texts.body(message(html, title)))
    assert units(shown) <= 4096
    assert "restart <b>it</b>?" in shown
    assert "2023-11-14 22:13:20 UTC" in shown
    assert not any(one["type"] == "text_link" and not one["url"].startswith("http") for one in entities)


@given(st.text(max_size=200), st.integers(1, 100))
@settings(deadline=None)
def test_a_strangers_text_stays_text(text: str, limit: int) -> None:
    shown, entities = parsed(escaped(text, limit))
    assert entities == []
    assert units(shown) <= limit


def test_tags_of_the_web_become_lines_and_marks_of_telegram() -> None:
    html = (
        "<h1>Orders &amp; more</h1><p>one\n   two</p><ul><li>a</li><li>b</li></ul>"
        "<table><tr><th>x</th><td>1</td></tr></table>"
        "<svg><text>picture</text></svg><script>alert(1)</script><p>see <a href='javascript:x'>this</a>"
        " <a href='https://e.example/?a=1&b=2'>that</a></p>"
    )
    assert fit(html) == (
        "<b>Orders &amp; more</b>\n\none two\n\n• a\n• b\n\n<b>x</b>  1\n\n"
        'see this <a href="https://e.example/?a=1&amp;b=2">that</a>'
    )


def test_a_long_story_is_cut_with_a_mark_that_can_be_seen() -> None:
    found = texts.body(message("<p>" + "line &amp; line<br>" * 2000 + "</p>"))
    shown, _ = parsed(found)
    assert CUT in shown
    assert 4000 < units(shown) <= 4096
    assert shown.index(CUT) < shown.index("May this be done?")


@pytest.mark.parametrize("piece", ["<b>", "<a ", "<a href='", "<!--", "</", "<svg>", "<i><p>", "<![CDATA[", "<a x='"])
def test_a_page_that_is_made_to_be_slow_is_not(piece: str) -> None:
    """Each of these kept the library's parser busy for seconds to minutes."""
    shown, _ = parsed(fit(piece * 40_000))
    assert units(shown) <= 4096


def test_comments_are_left_out_and_a_loose_sign_is_text() -> None:
    assert fit("<!DOCTYPE html><p>a <!-- note --> b</p> 1 < 2 <3 <") == "a b\n\n1 &lt; 2 &lt;3 &lt;"


def test_nothing_that_a_log_says_can_be_tapped() -> None:
    found = fit("<p>ERROR send /revive or /kill@treewalk_bot, ask @ana; see /var/log/x</p>")
    assert "/revive" not in found
    assert "/kill" not in found
    assert "@ana" not in found
    assert "/var/log/x" in found
    assert "revive" in found


def test_what_is_no_character_and_what_turns_text_round_is_taken_out() -> None:
    assert clean("a\ud800b\u202ec\0d") == "a\ufffdbcd"
    assert shortened("😀😀😀", 5) == "😀😀…"
    assert length("<b>&lt;😀</b>") == 3


def test_the_title_is_shown_once() -> None:
    assert texts.body(message("<b>it broke</b> badly", asked=False)) == "<b>it broke</b> badly"
    assert texts.body(message("badly", asked=False)) == "<b>it broke</b>\n\nbadly"


def test_a_message_with_nothing_in_it_is_not_empty() -> None:
    assert parsed(texts.body(message("<svg></svg>", title="", asked=False)))[0].strip()


def test_buttons_are_bound_to_the_incident_and_the_plan_and_short_enough() -> None:
    big = Message("k", "incident", Rendered("", "", "", ""), question=Question(10**18 - 1, DIGEST, "", 0.0))
    for data in (data for row in texts.buttons(big) for _, data in row):
        assert len(data.encode()) <= 64
        press = texts.pressed(data)
        assert press is not None
        assert (press.number, press.digest) == (10**18 - 1, DIGEST[:32])
    assert texts.buttons(message("", asked=False)) == []


@pytest.mark.parametrize(
    "data", ["", "a:7", "a:7:" + "0" * 31, "x:7:" + "0" * 32, "a:-7:" + "0" * 32, "a:٧:" + "0" * 32]
)
def test_data_that_no_button_had_is_none(data: str) -> None:
    assert texts.pressed(data) is None


def test_commands_are_told_from_texts() -> None:
    assert texts.command("/kill too  hot\nnow") == ("kill", "", "too  hot\nnow")
    assert texts.command("/KILL@other_bot") == ("kill", "other_bot", "")
    assert texts.command("please /kill") is None
    assert (
        texts.command("/seen_7@treewalk_bot") == texts.command("/seen@treewalk_bot 7") == ("seen", "treewalk_bot", "7")
    )
    assert texts.command("/k" * 5000) is None


def test_who_decided_is_text() -> None:
    found = texts.decided(Approval(DIGEST, "<b>ana</b>", True, 1_700_000_000.0, 0.0))
    assert "&lt;b&gt;ana&lt;/b&gt;" in found
    assert "2023-11-14 22:13:20 UTC" in found


@pytest.mark.parametrize(
    ("html", "says"),
    [
        ("<p>x</p>", 'Unsupported start tag "p" at byte offset 0'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("a < b", "Unclosed start tag at byte offset 2"),
    ],
)
def test_the_sandboxs_server_reads_html_as_strictly_as_the_real_one(html: str, says: str) -> None:
    with pytest.raises(BadHtml, match=re.escape(says)):
        parsed(html)
