"""JupyterLab for tests: a server of its own on this machine, and a notebook of it in a browser page."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

TOKEN = secrets.token_urlsafe(16)  # whoever has it can run code as the one who runs the tests
SETTINGS = {  # every cell is in the page, and nothing asks the network for news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
PANEL = "[...window.jupyterapp.shell.widgets('main')].find((widget) => widget.context?.path)"
READY = f"""() => {{
  const panel = window.jupyterapp && {PANEL};
  const session = panel?.context.isReady && panel.sessionContext;
  return Boolean(session?.isReady && session.session?.kernel);
}}"""
# fired, not awaited: the command returns when the last cell is done
RUN_ALL = f"""() => {{
  window.jupyterapp.shell.activateById({PANEL}.id);
  window.jupyterapp.commands.execute('notebook:run-all-cells');
}}"""
PROGRESS = f"""() => {{
  const panel = {PANEL};
  const cells = panel.content.widgets.filter((cell) => cell.model.type === 'code');
  const failed = cells.filter((cell) => cell.model.outputs && [...Array(cell.model.outputs.length).keys()]
    .some((i) => cell.model.outputs.get(i).type === 'error'));
  return {{left: cells.filter((cell) => cell.model.executionCount === null).length,
          idle: panel.sessionContext.session.kernel.status === 'idle',
          failed: failed.map((cell) => cell.model.sharedModel.getSource())}};
}}"""


@contextmanager
def server(folder: Path, log: Path, **environment):
    """JupyterLab serving `folder`; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = log.parent / "jupyter-home"
    for name, values in SETTINGS.items():
        path = home / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    environment["JUPYTER_TOKEN"] = TOKEN  # not among the words, which everybody on this machine can list
    environment["JUPYTER_CONFIG_DIR"] = str(home)
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(home / "lab" / "user-settings")
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "lab" / "workspaces")
    words = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
             "--allow-root", "--expose-app-in-browser",
             f"--ServerApp.root_dir={folder}"]  # fmt: skip
    with log.open("w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, env={**os.environ, **environment})
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api/status?token={TOKEN}", process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_for(url: str, process, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # past a proxy that is set
    while time.monotonic() < until:
        assert process.poll() is None, f"JupyterLab stopped:\n{log.read_text()[-2000:]}"
        try:
            direct.open(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"JupyterLab did not answer in {seconds:.0f} s:\n{log.read_text()[-2000:]}")


def run_all(page, address: str, notebook: str, seconds: float) -> None:
    """Open `notebook` in JupyterLab, run all its cells and wait until they are done.

    Raises AssertionError with the code of a cell that failed, TimeoutError after `seconds`.
    """
    page.goto(f"{address}/lab/workspaces/auto-{Path(notebook).stem}/tree/{notebook}?token={TOKEN}")
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate(RUN_ALL)
    until, now = time.monotonic() + seconds, None
    while time.monotonic() < until:
        now = page.evaluate(PROGRESS)
        assert not now["failed"], f"a cell failed:\n{now['failed'][0]}"
        if now["idle"] and not now["left"]:
            return
        page.wait_for_timeout(300)
    raise TimeoutError(f"{notebook} was not done after {seconds:.0f} s: {now}")
