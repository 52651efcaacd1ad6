"""The pages in a real browser: by keyboard, live, on a phone, and with nothing that the browser complains about."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest

from tests.crash.target import running_target
from tests.support.platform import SLA, Platform, write_platform
from tests.support.serving import Served, serving

pytestmark = pytest.mark.needs("chromium")
TOKEN = "s3cret-token"
PAGES = (
    "/", f"/slas/{SLA}", "/incidents", "/incidents/1", "/approvals", "/known-errors", "/impact?node=redis_instance",
    "/audit", "/policy", "/unmapped", "/switch",
)  # fmt: skip


@dataclass
class Browser:
    """One tab, and everything that the browser complained about."""

    page: Any
    served: Served
    platform: Platform
    workspace: Path
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.served.url + path)

    def log_in(self, name: str = "anna") -> None:
        self.go("/login")
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_label("Token of this server").fill(TOKEN)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("h1:has-text('Overview')")

    def alert(self, name: str = "EntityDataStale") -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {"name": name, "summary": "entities are 96 s old"}
        httpx.post(f"{self.served.url}/webhooks/generic", json=body, headers=headers).raise_for_status()

    def until(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=60_000)

    def lives(self, pattern: str) -> None:
        self.page.locator("#live").filter(has_text=re.compile(pattern)).wait_for()


@contextmanager
def browsing(folder: Path, **options: Any) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    platform = Platform()
    with running_target(platform):
        workspace = write_platform(folder / "w", platform.url)
        with serving(workspace, environ={"TREEWALK_TOKEN": TOKEN}) as served, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
            page = chromium.new_context(**options).new_page()
            page.set_default_timeout(30_000)
            found = Browser(page, served, platform, workspace)
            page.on("console", lambda said: said.type == "error" and found.complaints.append(said.text))
            page.on("pageerror", lambda error: found.complaints.append(str(error)))
            assert served.url
            yield found
            chromium.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with browsing(tmp_path) as found:
        yield found
        assert found.complaints == []


def test_a_plan_that_asks_is_approved_and_seen_to_resolve_without_a_reload(browser: Browser) -> None:
    browser.log_in()
    page = browser.page
    page.evaluate("window.loaded = 'once'")
    page.get_by_text("3 SLAs").wait_for()
    browser.alert()
    page.get_by_role("heading", name="Asked").wait_for()
    assert page.evaluate("window.loaded") == "once", "the overview followed by itself"
    page.get_by_role("link", name="Incident 1").first.click()
    page.wait_for_selector("h1:has-text('Incident 1')")
    page.evaluate("window.loaded = 'once'")
    page.get_by_role("button", name="Approve this plan").focus()
    page.keyboard.press("Enter")
    page.locator("#summary .state.resolved").wait_for()
    browser.until("redis_connected_clients < 280")
    assert page.evaluate("window.loaded") == "once", "the incident followed by itself"
    assert page.get_by_text("anna approved it (web)").count() == 1
    assert page.get_by_role("button", name="Approve this plan").count() == 0
    assert browser.platform.calls["/mend/idle"] == 1
    page.locator("svg.plot .series").first.wait_for()


def test_a_walk_fills_the_tree_and_a_node_is_opened_by_keyboard(browser: Browser) -> None:
    browser.log_in()
    page = browser.page
    browser.go(f"/slas/{SLA}")
    assert page.locator(".row .state", has_text="not looked at").count() == 5
    page.evaluate("window.loaded = 'once'")
    browser.platform.slow = 0.2
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Walk now"
    page.keyboard.press("Enter")
    browser.until("walking now")
    page.locator(".row.blamed", has_text="redis_instance").wait_for()
    assert page.evaluate("window.loaded") == "once"
    summary = page.locator("summary", has_text="redis_instance")
    summary.focus()
    page.keyboard.press("Enter")
    detail = page.locator("details[open] .detail")
    detail.get_by_text("Observed").wait_for()
    assert re.search(r"Expected\s+20[01]", detail.inner_text())
    assert "What breaks if redis_instance goes" in detail.inner_text()
    assert page.locator(".row .state", has_text="unknown").count() == 1, "the feed that nobody measures is not healthy"
    browser.platform.slow = 0.0


def test_an_open_node_stays_open_and_is_told_anew_by_the_next_walk(browser: Browser) -> None:
    browser.log_in()
    page = browser.page
    browser.go(f"/slas/{SLA}")
    page.locator("summary", has_text="redis_writer").focus()
    page.keyboard.press("Enter")
    page.locator("details[open] .detail").get_by_text("it was not looked at").wait_for()
    page.get_by_role("button", name="Walk now").click()
    page.locator("details[open] .detail").get_by_text("does not hold").first.wait_for()
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 1


BASICS = """() => {
  const wrong = [];
  for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!one.labels.length && !one.getAttribute("aria-label")) wrong.push("no label: " + one.outerHTML);
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4")) {
    const now = Number(one.tagName[1]);
    if (now > level + 1) wrong.push("heading out of order: " + one.textContent);
    level = now;
  }
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  for (const one of document.querySelectorAll("button, a[href], summary"))
    if (!(one.getAttribute("aria-label") || one.textContent).trim()) wrong.push("no name: " + one.outerHTML);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("twice: #" + id);
  for (const one of document.querySelectorAll(".state")) if (!/[a-z]/.test(one.textContent)) wrong.push("no word");
  if (document.documentElement.lang !== "en") wrong.push("no language");
  if (document.documentElement.scrollWidth > window.innerWidth)
    wrong.push("wider than the window: " + document.documentElement.scrollWidth);
  return wrong;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_can_be_read_by_a_machine(tmp_path: Path, scheme: str) -> None:
    with browsing(tmp_path, viewport={"width": 360, "height": 740}, color_scheme=scheme) as browser:
        browser.go("/login")
        assert browser.page.evaluate(BASICS) == []
        browser.log_in()
        browser.alert()
        browser.alert("x" * 120 + "-DiskFull")
        browser.until("question waits")
        for path in PAGES:
            browser.go(path)
            browser.page.wait_for_load_state("load")
            assert (path, browser.page.evaluate(BASICS)) == (path, [])
            assert (path, low_contrast(browser)) == (path, [])
        browser.page.get_by_label("Why", exact=True).wait_for()
        browser.go("/incidents/1")
        browser.page.get_by_role("button", name="Deny").click()
        browser.page.locator("#summary .state.refused").wait_for()
        for path in ("/", "/incidents/1", "/incidents/1/report", "/incidents/1/postmortem"):
            browser.go(path)
            browser.page.wait_for_load_state("load")
            if path == "/":
                browser.page.get_by_role("heading", name="Needs a human").wait_for()
            if path.count("/") < 3:  # the others are documents of their own
                assert (path, browser.page.evaluate(BASICS)) == (path, [])
                assert (path, low_contrast(browser)) == (path, [])
            assert browser.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert browser.complaints == []


CONTRAST = """() => {
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const c = rgb(getComputedStyle(one).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [20, 22, 24] : [251, 251, 249];
  };
  const wrong = new Set();
  for (const one of document.body.querySelectorAll("*")) {
    if (![...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || one.closest("svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) wrong.add(one.tagName + "." + one.className);
  }
  return [...wrong];
}"""


def low_contrast(browser: Browser) -> list[str]:
    """The elements whose text stands out less than 4.5 to 1."""
    found: list[str] = browser.page.evaluate(CONTRAST)
    return found


def test_a_stream_that_breaks_off_is_taken_up_again(browser: Browser) -> None:
    browser.log_in()
    browser.lives("^Live$")
    port = browser.served.url.rpartition(":")[2]
    assert browser.served.stop() == 0
    browser.lives("^Not live")
    with serving(browser.workspace, "--port", port, environ={"TREEWALK_TOKEN": TOKEN}) as again:
        assert again.url
        browser.lives("^Live$")
    browser.complaints.clear()  # the browser says that it could not connect, as it should
