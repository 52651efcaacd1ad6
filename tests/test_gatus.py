"""A real Gatus with the template that is shipped: a check fails, and an incident is there."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.support.answers import free_port
from tests.support.serving import serving

REPO = Path(__file__).parent.parent
TOKEN = {"Authorization": "Bearer s3cret-token"}
WORKSPACE = 'server: {token: s3cret-token, webhooks: {gatus: {token: "${TREEWALK_GATUS_TOKEN}"}}}\n'
TREE = """metrics:
  fresh:
    sla: {query: age, threshold: 60s}
    gatus_check: 'data / "fresh"'
    depends_on: [{node: store, healthcheck: {method: tcp_connect, address: "127.0.0.1:9"}}]
"""


def gatus_config(folder: Path, treewalk: str) -> Path:
    """The shipped configuration, sent to this treewalk, with one endpoint that fails and a name that holds quotes."""
    yaml = YAML(typ="safe", pure=True)
    config = yaml.load((REPO / "deploy" / "gatus.yaml").read_text())
    custom = config["alerting"]["custom"]
    custom["url"] = f"{treewalk}/webhooks/gatus"
    custom["default-alert"] |= {"failure-threshold": 1, "success-threshold": 1}
    failing = {"name": '"fresh"', "group": "data", "url": f"http://127.0.0.1:{free_port()}/", "interval": "1s"}
    config["endpoints"] = [{**failing, "conditions": ["[STATUS] == 200"], "alerts": [{"type": "custom"}]}]
    config["web"] = {"address": "127.0.0.1", "port": free_port()}
    path = folder / "gatus.yaml"
    with path.open("w") as file:
        yaml.dump(config, file)
    return path


@pytest.mark.needs("gatus")
def test_a_check_that_fails_in_a_real_gatus_opens_an_incident(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    (workspace / "trees").mkdir(parents=True)
    (workspace / "treewalk.yaml").write_text(WORKSPACE)
    (workspace / "trees" / "main.yaml").write_text(TREE)
    environ = {"TREEWALK_GATUS_TOKEN": "gatus-token"}
    program = shutil.which("gatus") or str(REPO / ".cache" / "gatus" / "bin" / "gatus")
    with serving(workspace, environ=environ) as served, (tmp_path / "gatus.log").open("w") as log:
        config = gatus_config(tmp_path, served.url)
        gatus = subprocess.Popen(
            [program], env={**os.environ, **environ, "GATUS_CONFIG_PATH": str(config)}, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while not (found := httpx.get(f"{served.url}/api/incidents", headers=TOKEN).json()["incidents"]):
                assert time.monotonic() < deadline, (tmp_path / "gatus.log").read_text()
                time.sleep(0.2)
        finally:
            gatus.kill()
            gatus.wait(timeout=10)
    assert [one["sla"] for one in found] == ["fresh"]


def test_the_configuration_that_the_real_one_is_given_keeps_the_shipped_template(tmp_path: Path) -> None:
    config = YAML(typ="safe").load(gatus_config(tmp_path, "http://127.0.0.1:1").read_text())
    shipped = YAML(typ="safe").load((REPO / "deploy" / "gatus.yaml").read_text())
    assert config["alerting"]["custom"]["body"] == shipped["alerting"]["custom"]["body"]
    assert config["alerting"]["custom"]["headers"] == shipped["alerting"]["custom"]["headers"]
