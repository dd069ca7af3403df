"""A headless Chromium for tests of pages, driven through Selenium; tests that ask for it are skipped where there is none."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# As root in a container, and without any connection of the browser's own.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Page:
    """One browser window; what the page logs and whatever it tries to load is kept."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> float:
        """Opens the file and waits until its rollouts can be used; returns the seconds that took."""
        command = self.driver.execute_cdp_cmd
        command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        started = time.monotonic()
        self.driver.get(file.as_uri())
        self.until("return document.documentElement.dataset.ready === 'rollouts'")
        return time.monotonic() - started

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str, seconds: float = 30.0) -> None:
        """Waits for a script to return something true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}; {self.complaints()}"
            time.sleep(0.03)

    def complaints(self) -> list[str]:
        """Errors and refused loads since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def fill(self, field: str, value: str) -> None:
        """Types into (or chooses in) one of the filters, and waits for the answer."""
        before = self.run("return Number(document.getElementById('found').dataset.search)")
        self.run(
            "const f = document.forms.filters.elements[arguments[0]]; f.value = arguments[1];"
            "f.dispatchEvent(new Event('input', {bubbles: true}))",
            field,
            value,
        )
        self.until(f"return Number(document.getElementById('found').dataset.search) > {before}")

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """Starts the browser; skips the test where Chromium, its driver or Selenium is not installed."""
    pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not binary or not driver_path:
        pytest.skip("there is no Chromium with its driver on this machine: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Page(driver)
    finally:
        driver.quit()
