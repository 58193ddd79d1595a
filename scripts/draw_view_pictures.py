"""Draw the pictures of docs/how-to/view-a-run.md in a real Chromium.

    python scripts/draw_view_pictures.py RUN CUT [NAME...]

RUN is a finished run of examples/zagreb.yaml. CUT is the same over a copy of its scenes in which the near infrared of
tile 33TWM is cut off after 20 kB, so that the tile fails:

    for f in CUT_SCENES/sentinel-2-l2a/*33TWM*/B08.tif; do truncate -s 20000 $f; done
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import uvicorn
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from s2ops.view.app import build_application  # noqa: E402
from s2ops.view.run import ViewedRun  # noqa: E402
from s2ops.view.server import open_listening_socket  # noqa: E402
from tests.helpers.browser import WAIT_S, resize, start_chromium, wait_until_settled  # noqa: E402

DESKTOP, TALL, PHONE = (1180, 740), (1180, 860), (390, 780)
NAMES = ("pixel", "dates", "swipe", "seams", "failed", "phone")
ZAGREB = "at=45.81000/15.98000"


def take_screenshot(driver: Chrome, address: str, hash_: str, size: tuple[int, int], ask: bool = False) -> Image.Image:
    """Return a screenshot of the page at a link; with `ask`, after it has explained the pixel of the link."""
    resize(driver, *size)
    driver.get("about:blank")
    driver.get(address + hash_)
    wait_until_settled(driver)
    if ask:
        WebDriverWait(driver, WAIT_S, 0.1).until(lambda it: "Scene list" in it.find_element(By.ID, "here-body").text)
        wait_until_settled(driver)
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def join_pictures(pictures: list[Image.Image], gap: int = 24) -> Image.Image:
    """Join pictures of one height in a row."""
    width = sum(one.width + gap for one in pictures) - gap
    row = Image.new("RGB", (width, pictures[0].height), (208, 214, 218))
    left = 0
    for one in pictures:
        row.paste(one, (left, 0))
        left += one.width + gap
    return row


def save(name: str, picture: Image.Image) -> None:
    """Save a JPEG that is small enough for a repository."""
    path = ROOT / f"docs/images/view-{name}.jpg"
    picture.save(path, quality=80, optimize=True, progressive=True)
    print(f"{path.relative_to(ROOT)} {path.stat().st_size // 1000} kB")


def draw(driver: Chrome, run: str, cut: str, names: Sequence[str]) -> None:
    """Draw the named pictures."""
    views = {
        "pixel": (run, f"#map=9.60/45.79000/16.06000&top=landcover&opacity=75&{ZAGREB}", True),
        "dates": (run, "#map=8.10/46.45000/15.75000&top=dates&opacity=70&marks=tiles,holes", False),
        "swipe": (run, "#map=9.40/45.75000/15.95000&right=a:scene:2023-08-20&swipe=52&marks=", False),
        "seams": (run, "#map=8.60/46.00000/15.75000&picture=before&marks=tiles,seams&seams=before", False),
        "failed": (cut, "", False),
    }
    for name, (address, hash_, ask) in views.items():
        if name in names:
            save(name, take_screenshot(driver, address, hash_, TALL if name == "failed" else DESKTOP, ask))
    if "phone" in names:
        links = (
            "#top=landcover",
            "#top=confidence&map=8.90/45.80000/15.95000",
            f"#map=9.40/45.78000/15.96000&{ZAGREB}",
        )
        save("phone", join_pictures([take_screenshot(driver, run, link, PHONE, ask="at=" in link) for link in links]))


if __name__ == "__main__":
    servers, threads, addresses = [], [], []
    for place in sys.argv[1:3]:
        socket = open_listening_socket("127.0.0.1", 0)
        site = build_application({"a": ViewedRun(place)}, ["127.0.0.1"])
        servers.append(
            uvicorn.Server(
                uvicorn.Config(
                    site, log_level="warning", lifespan="off", timeout_graceful_shutdown=3, timeout_keep_alive=60
                )
            )
        )
        threads.append(Thread(target=servers[-1].run, kwargs={"sockets": [socket]}, daemon=True))
        threads[-1].start()
        addresses.append(f"http://127.0.0.1:{socket.getsockname()[1]}/")
    try:
        with start_chromium(*DESKTOP) as browser:
            draw(browser, addresses[0], addresses[1], sys.argv[3:] or NAMES)
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.should_exit = True
            thread.join(10)
