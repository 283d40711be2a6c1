"""Takes the picture of the live page that the README begins with: ``python -m tests.peers.picture``.

It runs the demo for some minutes, so that there is something to see, and looks at it with the browser that
``make peers`` brings.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

from tests.peers.binaries import ROOT, find

PICTURE: Final = ROOT / "docs" / "images" / "live-page.png"
TOKEN: Final = "token-of-the-picture"
PORT: Final = 8_655
MINUTES: Final = 7.0
WIDTH, HEIGHT = 1240, 900


def main(minutes: float) -> None:
    """Run the demo and take the picture."""
    command = [sys.executable, "-m", "service", "demo", "--seed", "7"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PORT": str(PORT), "ADMIN_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
        demo = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            time.sleep(minutes * 60)
            take(f"http://127.0.0.1:{PORT}", PICTURE)
        finally:
            demo.terminate()
            demo.wait(30)


def take(base: str, picture: Path) -> None:
    """Sign in, and take the picture of the first page."""
    with sync_playwright() as playwright:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=str(find("chromium")), args=args)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(base)
        page.fill("input[name=token]", TOKEN)
        page.press("input[name=token]", "Enter")
        page.wait_for_selector("#tenants tbody tr")
        page.wait_for_timeout(3_000)  # a live frame or two
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else MINUTES)
