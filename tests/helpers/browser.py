"""Headless Chromium, controlled by Selenium, for tests and screenshots of `s2ops view`."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from s2ops.constants import UInt8

WAIT_S = 180
"""Timeout in seconds: a busy machine without a graphics card draws slowly."""


def require_chromium() -> None:
    """Skip the test if Debian's chromium and chromium-driver are not installed; fail in CI."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    words = "chromium and chromium-driver are not installed: scripts/install-test-services.sh"
    if os.environ.get("S2OPS_REQUIRE_SERVICES"):
        pytest.fail(words)
    pytest.skip(words)


@contextmanager
def start_chromium(width: int, height: int, scale: float = 1.0) -> Iterator[Chrome]:
    """Start a browser with a window size in CSS pixels; SwiftShader provides WebGL without a graphics card."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    for flag in ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-renderer-backgrounding"):
        options.add_argument(flag)
    options.add_argument(f"--window-size={max(width, 600)},{height + 200}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_script_timeout(WAIT_S)
    driver.set_page_load_timeout(WAIT_S)
    try:
        resize(driver, width, height, scale)
        yield driver
    finally:
        driver.quit()


def resize(driver: Chrome, width: int, height: int, scale: float = 1.0) -> None:
    """Resize the screen; below 600 pixels it is that of a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait_until_settled(driver: Chrome) -> None:
    """Wait until the page has started and its maps have loaded the visible area."""
    script = "return document.body.dataset.ready === 'yes' && document.body.dataset.idle === 'yes'"
    WebDriverWait(driver, WAIT_S, 0.1).until(lambda _: driver.execute_script(script))


def capture_screen(driver: Chrome) -> UInt8:
    """Capture the screen: `(y, x, RGB)`."""
    return np.asarray(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB"))
