"""The top of a report as a picture for the README: python tools/screenshot.py RUN OUT.png, or `make screenshot`."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from optical_ray.analysis.report import write_report
from optical_ray.errors import OpticalError

WIDTH, HEIGHT = 1280, 1180
COLOURS = 64  # enough for text and lines on paper; a quarter of the bytes


def main() -> None:
    """Write the report anew, open it in Chromium, keep what a reader sees first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a sweep that has finished")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    program = os.environ.get("OPTICAL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        parser.error("no Chromium on PATH; on Debian: apt-get install chromium, or name one with OPTICAL_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        try:
            page = write_report(given.run, folder)
        except OpticalError as error:
            parser.error(str(error))
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        view = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light").new_page()
        view.goto(page.as_uri())
        picture = Image.open(io.BytesIO(view.screenshot()))
        browser.close()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(COLOURS).save(given.out, optimize=True)


if __name__ == "__main__":
    main()
