"""Page of `s2ops view` in a real Chromium: layers, clicks, swipe line, links, keyboard and phone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import uvicorn

from tests.helpers.finished_run import write_small_run

pytest.importorskip("selenium", reason="selenium is not installed: make dev")
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from s2ops.constants import CLASS_COLOURS, LandCover, UInt8
from s2ops.view.app import build_application
from s2ops.view.run import ViewedRun
from s2ops.view.server import open_listening_socket
from tests.helpers.browser import WAIT_S, capture_screen, require_chromium, resize, start_chromium, wait_until_settled

ROOT = Path(__file__).parents[2]
SIZE = (900, 600)
PANEL = 312
"""Width of the panel, left of the map."""
PLACE = "map=8.50/45.60000/15.70000"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two runs behind a real server: two tiles, and one of them alone."""
    require_chromium()
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        "a": ViewedRun(write_small_run(folder / "all", ("33TWL", "33TWM")).uri),
        "b": ViewedRun(write_small_run(folder / "one", ("33TWL",)).uri),
    }
    listening = open_listening_socket("127.0.0.1", 0)
    site = build_application(runs, ["127.0.0.1"])
    server = uvicorn.Server(uvicorn.Config(site, log_level="warning", lifespan="off", timeout_graceful_shutdown=3))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(30)
    listening.close()
    for run in runs.values():
        run.close()
        run._worker.shutdown(wait=True)


@pytest.fixture(scope="module")
def driver(address: str) -> Iterator[Chrome]:
    with start_chromium(*SIZE) as made:
        yield made


@pytest.fixture
def page(driver: Chrome, address: str) -> Iterator[Chrome]:
    """Newly loaded page with the size of a desktop."""
    resize(driver, *SIZE)
    show(driver, address, f"#{PLACE}")
    yield driver
    complaints = [one for one in driver.get_log("browser") if one["level"] == "SEVERE"]
    assert not complaints, complaints


def show(driver: Chrome, address: str, hash_: str) -> None:
    """Show the page at an address."""
    driver.get("about:blank")
    driver.get(address + hash_)
    wait_until_settled(driver)


def choose(driver: Chrome, name: str, value: str) -> None:
    """Choose a radio button."""
    driver.find_element(By.CSS_SELECTOR, f"input[name={name}][value={value}]").click()
    wait_until_settled(driver)


def select_option(driver: Chrome, name: str, value: str) -> None:
    """Select an option of a list."""
    driver.find_element(By.CSS_SELECTOR, f"#{name} option[value='{value}']").click()
    wait_until_settled(driver)


def get_text(driver: Chrome, name: str) -> str:
    """Get the visible text of an element."""
    return driver.find_element(By.ID, name).text


def wait_until(driver: Chrome, condition: Any) -> None:
    """Wait until a condition on the driver is true."""
    WebDriverWait(driver, WAIT_S, 0.1).until(condition)


def capture_map(driver: Chrome) -> UInt8:
    """Capture the map without the controls at its edges: `(y, x, RGB)`."""
    return capture_screen(driver)[100:-60, PANEL + 60 : -60]


def compute_difference(one: UInt8, other: UInt8) -> float:
    """Compute the mean absolute difference of two images."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_map_changes_with_every_layer_and_with_opacity(page: Chrome) -> None:
    pictures = {"truecolour": capture_map(page)}
    for layer in ("infrared", "scene", "none"):
        choose(page, "picture", layer)
        pictures[layer] = capture_map(page)
    for layer in ("landcover", "confidence", "dates"):
        choose(page, "top", layer)
        pictures[layer] = capture_map(page)
    names = list(pictures)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            assert compute_difference(pictures[name], pictures[other]) > 1, (name, other)
    choose(page, "top", "landcover")
    page.execute_script(
        "const o = document.getElementById('opacity'); o.value = 100; o.dispatchEvent(new Event('input'))"
    )
    wait_until_settled(page)
    barren = np.array(CLASS_COLOURS[LandCover.BARREN])  # the only class in the synthetic scenes
    assert (np.abs(capture_map(page).astype(int) - barren).max(axis=2) <= 2).mean() > 0.8
    assert "barren" in get_text(page, "legend")


def test_marks_are_drawn_and_removed(page: Chrome, address: str) -> None:
    show(page, address, "#map=8.50/46.00000/15.70000&picture=none")  # where the two tiles overlap
    with_tiles = capture_map(page)
    page.find_element(By.ID, "mark-tiles").click()
    wait_until_settled(page)
    bare = capture_map(page)
    assert compute_difference(with_tiles, bare) > 0.05
    page.find_element(By.ID, "mark-seams").click()
    wait_until_settled(page)
    assert compute_difference(capture_map(page), bare) > 0.1
    assert "the limit of s2ops verify" in get_text(page, "seams-legend")


def test_click_explains_the_pixel_and_the_scene_list_of_its_tile(page: Chrome) -> None:
    ActionChains(page).move_by_offset(0, 0).move_to_element(page.find_element(By.ID, "map")).click().perform()
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    said = get_text(page, "here")
    for words in ("Pixel in 33TWL", "45.6", "15.7", "barren", "% confidence", "20 August 2023", "Reflectance",
                  "S2A_33TWL_20230820_0_L2A", "selected 1", "seam 1.02, 1.90 before blending"):  # fmt: skip
        assert words in said, words
    page.find_element(By.CSS_SELECTOR, "#here .scene button").click()
    wait_until_settled(page)
    assert page.find_element(By.CSS_SELECTOR, "input[name=picture]:checked").get_attribute("value") == "scene"
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert not page.find_element(By.ID, "here").is_displayed()


def test_page_can_be_used_without_a_mouse(page: Chrome) -> None:
    canvas = page.find_element(By.CSS_SELECTOR, "#map canvas")
    before = page.execute_script("return location.hash")
    canvas.send_keys(Keys.ARROW_LEFT)
    wait_until(page, lambda driver: driver.execute_script("return location.hash") != before)
    wait_until_settled(page)
    canvas.send_keys(Keys.ENTER)
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    radio = page.find_element(By.CSS_SELECTOR, "input[name=top]:checked")
    radio.send_keys(Keys.ARROW_RIGHT)
    wait_until_settled(page)
    assert page.find_element(By.CSS_SELECTOR, "input[name=top]:checked").get_attribute("value") == "landcover"
    nameless = page.execute_script("""return [...document.querySelectorAll('button, input, select, canvas, a')]
        .filter((one) => one.checkVisibility() && !(one.ariaLabel || one.labels?.length || one.textContent.trim()))
        .map((one) => one.outerHTML)""")
    assert nameless == []


def test_swipe_line_divides_two_images_and_moves(page: Chrome) -> None:
    plain = capture_map(page)
    select_option(page, "right", "a:dates")
    half = capture_map(page)
    middle = half.shape[1] // 2
    assert compute_difference(plain[:, : middle - 30], half[:, : middle - 30]) < 1
    assert compute_difference(plain[:, middle + 30 :], half[:, middle + 30 :]) > 10
    page.find_element(By.ID, "swipe").send_keys(Keys.ARROW_LEFT * 30)
    wait_until_settled(page)
    further = capture_map(page)
    between = np.s_[:, middle - 90 : middle - 30]
    assert compute_difference(plain[between], further[between]) > 10
    assert get_text(page, "right-name") == "all: Dates"
    select_option(page, "right", "b:truecolour")
    assert get_text(page, "right-name") == "one: True colour"


def test_link_restores_position_layers_and_explanation(page: Chrome, address: str) -> None:
    choose(page, "top", "confidence")
    select_option(page, "right", "a:scene:2023-08-10")
    page.find_element(By.ID, "mark-seams").click()
    ActionChains(page).move_to_element_with_offset(page.find_element(By.ID, "map"), -120, 40).click().perform()
    wait_until(page, lambda driver: "at=" in driver.execute_script("return location.hash"))
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    wait_until_settled(page)
    link, wanted, said = page.current_url, capture_screen(page), get_text(page, "here")
    page.get("about:blank")
    page.get(link)
    wait_until_settled(page)
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    wait_until_settled(page)
    assert get_text(page, "here") == said
    assert compute_difference(capture_screen(page)[:, PANEL:], wanted[:, PANEL:]) < 0.5
    assert page.current_url == link


@pytest.mark.parametrize(
    "wrong", ["#map=99/x/1&picture=nothing&top=%3Cb%3E", "#right=c:x&at=1&opacity=-5&date=2030-01-01"]
)
def test_wrong_link_is_applied_as_far_as_it_is_valid(page: Chrome, address: str, wrong: str) -> None:
    show(page, address, wrong)
    assert get_text(page, "status") == "All 2 tiles done"
    assert not page.find_element(By.ID, "error").is_displayed()


def test_search_field_accepts_coordinates_and_tile_names(page: Chrome) -> None:
    field = page.find_element(By.ID, "goto-text")
    field.send_keys("33twm", Keys.ENTER)
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    assert get_text(page, "here-title") == "Tile 33TWM"
    field.clear()
    field.send_keys("45.5, 15.5", Keys.ENTER)
    wait_until(page, lambda driver: get_text(driver, "here-title") == "Pixel in 33TWL")
    field.clear()
    field.send_keys("nowhere", Keys.ENTER)
    assert "is neither a tile of this run nor a latitude and longitude" in get_text(page, "error")


def test_page_fits_the_width_of_a_phone(page: Chrome, address: str) -> None:
    resize(page, 390, 760)
    show(page, address, f"#{PLACE}&top=landcover")
    assert "barren" in get_text(page, "small-legend")
    page.find_element(By.ID, "open-panel").click()
    wait_until(page, lambda driver: driver.find_element(By.ID, "goto").is_displayed())
    choose(page, "top", "dates")
    page.find_element(By.ID, "panel-close").click()
    page.find_element(By.ID, "open-middle").click()
    wait_until(page, lambda driver: "Scene list" in get_text(driver, "here-body"))
    wait_until_settled(page)
    wide = page.execute_script(
        """return [document.documentElement.scrollWidth, ...['panel', 'here', 'here-body', 'phone-bar']
        .map((id) => document.getElementById(id).scrollWidth)]"""
    )
    assert max(wide) <= 390
    # the inspected pixel is above the panel
    seen = capture_screen(page)
    ring = (np.abs(seen.astype(int) - (0xC8, 0x55, 0x1B)).max(axis=2) < 12).nonzero()
    top = page.execute_script("return document.getElementById('here').getBoundingClientRect().top")
    assert len(ring[0]) > 20
    assert ring[0].max() < top


def test_page_reports_that_the_server_is_gone(driver: Chrome, tmp_path: Path) -> None:
    store = write_small_run(tmp_path, ("33TWL",))
    code = "from s2ops.cli import main; main()"
    command = [sys.executable, "-u", "-c", code, "view", store.uri, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        resize(driver, *SIZE)
        show(driver, address, "")
        process.terminate()
        assert process.wait(timeout=30) == 0
    ActionChains(driver).move_to_element(driver.find_element(By.ID, "map")).click().perform()
    wait_until(driver, lambda it: "The server does not respond" in get_text(it, "here-body"))
    driver.get_log("browser")
