"""A real, headless Chromium, and the report of a real sweep (`make test-browser`): OPTICAL_RUN names its run folder."""

import os
import shutil
from pathlib import Path

import pytest

from optical_ray.analysis.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """Written anew from the run folder alone."""
    run = os.environ.get("OPTICAL_RUN")
    if run is None:
        pytest.skip("by hand or by .ci/run: make test-browser")
    assert Path(run).is_dir(), f"OPTICAL_RUN={run}: no such folder"
    return write_report(run, tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, or make test-browser")
    program = os.environ.get("OPTICAL_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("no Chromium on PATH; on Debian: apt-get install chromium, or name one with OPTICAL_CHROMIUM")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
        running = driver.chromium.launch(executable_path=program, args=arguments)
        yield running
        running.close()


@pytest.fixture
def open_page(browser, report):
    """Opens the report from disk; at the end nothing may have been complained of, or fetched from anywhere else."""
    contexts, complaints, fetched = [], [], []

    def open_(width=1280, scheme="light", fragment=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto((report / "index.html").as_uri() + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in fetched if not url.startswith("file:")] == []
