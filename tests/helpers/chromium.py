"""The browser of this machine, where there is one: playwright drives it and never downloads another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip


def require_chromium() -> None:
    """Skip the test where there is no browser; in CI, which has to have one, fail it."""
    if CHROMIUM is None and "CI" in os.environ:
        pytest.fail("There is no chromium, and CI has to have one: make browser installs it.")
    if CHROMIUM is None:
        pytest.skip("no chromium: make browser installs it")


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """A headless browser that starts with nothing.

    Args:
        profile: an empty folder for its files.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(str(profile), executable_path=CHROMIUM, args=FLAGS)
        yield context
        context.close()
