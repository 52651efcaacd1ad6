"""Real containers behind the Docker API without a daemon: podman's service in a mount namespace of its own.

The image is made of busybox. Needs root, and Linux with unshare.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

IMAGE = "localhost/bb:1"
_CONF = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[containers]
cgroups = "disabled"
netns = "host"
"""
_SERVICE = (
    "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; "
    'exec podman --storage-driver=vfs --root "$1/pod" --runroot "$1/run" system service --time=0 "unix://$1/podman.sock"'
)


@contextmanager
def running_podman() -> Iterator[str]:
    """The engine's base_url for the Docker SDK; containers and engine are gone afterwards."""
    # podman refuses state folders of more than 50 characters
    # an engine that ends may still write while its folder is removed
    with TemporaryDirectory(prefix="tw-", ignore_cleanup_errors=True) as short, _service(Path(short)) as url:
        yield url


@contextmanager
def _service(folder: Path) -> Iterator[str]:
    (folder / "ctr.conf").write_text(_CONF)
    environment = {**os.environ, "CONTAINERS_CONF": str(folder / "ctr.conf")}
    _import_image(folder, environment)
    command = ["unshare", "-m", "sh", "-c", _SERVICE, "sh", str(folder)]
    with (folder / "podman.log").open("w") as log:
        service = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    socket = folder / "podman.sock"
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            if time.monotonic() > deadline or service.poll() is not None:
                raise RuntimeError(f"podman does not start: {(folder / 'podman.log').read_text()[-500:]}")
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        os.killpg(service.pid, signal.SIGTERM)
        service.wait(timeout=20)
        _end_monitors(folder)


def _end_monitors(folder: Path) -> None:
    """Every command run in a container leaves a monitor of its own for five minutes: end those of ours."""
    store = f"{folder}/pod".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if words and words[0].endswith(b"/conmon") and store in words:
                os.kill(int(entry.name), signal.SIGKILL)


def start(client: Any, name: str, *command: str) -> Any:
    """A container of the little image, running a command."""
    import docker

    limits = [docker.types.Ulimit(name=kind, soft=1024, hard=1024) for kind in ("nofile", "nproc")]
    return client.containers.run(IMAGE, list(command), name=name, detach=True, network_mode="host", ulimits=limits)


def _import_image(folder: Path, environment: dict[str, str]) -> None:
    with tarfile.open(folder / "img.tar", "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "sleep", "echo"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    store = ["podman", "--storage-driver=vfs", "--root", str(folder / "pod"), "--runroot", str(folder / "run")]
    subprocess.run([*store, "import", str(folder / "img.tar"), IMAGE], env=environment, check=True, capture_output=True)
