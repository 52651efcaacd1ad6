"""Take the pictures of docs/images: the pages of `treewalk serve` in a real Chromium, light and dark.

Needs Chromium on the path. Usage: python scripts/screenshots.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from shutil import which
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

import httpx  # noqa: E402

from tests.crash.target import running_target  # noqa: E402
from tests.support.platform import SLA, Platform, write_platform  # noqa: E402
from tests.support.serving import serving  # noqa: E402

TOKEN = "s3cret-token"  # noqa: S105  of a server that lives as long as this script
MOST = 150_000  # bytes a picture
WIDE, PHONE = {"width": 1100, "height": 800}, {"width": 360, "height": 740}


def main(folder: Path) -> None:
    """Write every picture into a folder."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    platform = Platform()
    with tempfile.TemporaryDirectory() as place, running_target(platform):
        workspace = write_platform(Path(place) / "ops", platform.url, "watch: {interval: 1s}\n")
        with serving(workspace, environ={"TREEWALK_TOKEN": TOKEN}) as served, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
            tabs = {scheme: _tab(chromium, served.url, scheme, WIDE) for scheme in ("light", "dark")}
            tabs["phone"] = _tab(chromium, served.url, "light", PHONE)
            _alert(served.url)
            _until_asked(tabs["light"], served.url)
            for name, path in (("overview", "/"), ("tree", f"/slas/{SLA}"), ("approval", "/incidents/1")):
                for look, tab in tabs.items():
                    if (name, look) == ("overview", "phone"):
                        continue
                    tab.goto(served.url + path)
                    if name == "tree":
                        tab.locator("summary", has_text="redis_instance").click()
                        tab.locator("details[open] .detail dl").wait_for()
                    _take(tab, folder / f"{name}-{look}.png")
            tabs["light"].goto(f"{served.url}/incidents/1")
            tabs["light"].get_by_role("button", name="Approve this plan").click()
            tabs["light"].locator("#summary .state.resolved").wait_for()
            for look in ("light", "dark"):
                tab = tabs[look]
                tab.goto(f"{served.url}/incidents/1")
                _take(tab, folder / f"incident-{look}.png")
            chromium.close()


def _tab(chromium: Any, url: str, scheme: str, size: Any) -> Any:
    tab = chromium.new_context(viewport=size, color_scheme=scheme).new_page()
    tab.goto(f"{url}/login")
    tab.get_by_label("Your name").fill("anna")
    tab.get_by_label("Token of this server").fill(TOKEN)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("h1:has-text('Overview')")
    return tab


def _alert(url: str) -> None:
    body = {"name": "EntityDataStale", "summary": "entities are 96 s old"}
    httpx.post(f"{url}/webhooks/generic", json=body, headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status()


def _until_asked(tab: Any, url: str) -> None:
    tab.goto(f"{url}/incidents/1")
    tab.get_by_role("button", name="Approve this plan").wait_for()


def _take(tab: Any, file: Path) -> None:
    if tab.locator("#plot").count():
        tab.locator("svg.plot").wait_for()
    time.sleep(0.7)
    tab.screenshot(path=str(file))
    if file.stat().st_size > MOST:
        raise SystemExit(f"{file.name} has more than {MOST} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "images")
