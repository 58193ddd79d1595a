"""HTML report: self-contained, true to the records, and complete when parts of a run are missing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from s2ops.constants import CLASS_NAMES, LandCover
from s2ops.errors import InputError
from s2ops.geo.equal_area import compute_covered_km2
from s2ops.geo.mgrs_tiles import find_neighbours, list_all_tiles, parse_tile, parse_tiles
from s2ops.imaging.rendering import choose_date_length
from s2ops.report import MAX_DETAILED, build_report, layers
from s2ops.report.gather import SeamRecord, SeamSummary, gather_run_facts
from s2ops.report.maps import Canvas, find_border_midpoint
from s2ops.storage.done_marker import to_json
from s2ops.storage.object_store import Store
from tests.helpers.finished_run import FakeScene, create_scenes, write_small_run

TWO = ("33TWL", "33TWM")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(store: Store) -> str:
    return build_report(store, TWO)


def extract_text(html: str) -> str:
    """Extract the visible text of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))


class LinkCollector(HTMLParser):
    """Collects the links of a page, the files that it loads, and the number of images without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.without_alt = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.targets.append(found.get("href") or "")
        elif found.get("src") or tag == "link":
            self.loads.append(found.get("src") or found.get("href") or "")
        if tag == "img" and not found.get("alt"):
            self.without_alt += 1
        if tag not in {"meta", "img", "br", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "polygon"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_loads_nothing_external_and_each_image_has_alt_text(store: Store, page: str) -> None:
    links = LinkCollector()
    links.feed(page)
    assert links.open == []
    assert links.without_alt == 0
    assert len(links.loads) == 5 + 2 + 4  # layers, a seam before and after blending, previews
    assert all(target.startswith("data:image/") for target in links.loads)
    assert "http" not in re.sub(r"data:image/[^\"]+", "", page)
    assert all(target.startswith("../") for target in links.targets)
    assert all(store.has_key(target.removeprefix("../")) for target in links.targets)
    assert len(page) < 15e6


def test_report_does_not_depend_on_the_order_of_tiles(store: Store, page: str) -> None:
    assert build_report(store, TWO[::-1]) == page


def test_report_contains_scenes_seams_and_costs(page: str) -> None:
    text = extract_text(page)
    assert "tiles 2 23,054 km²" in text
    assert "scenes in the mosaic 4 of 4 candidates" in text
    assert "covered 100 % no holes" in text
    assert "worst seam 1.02 was 1.90" in text
    assert "selected 1 2023-08-20 S2A_33TWL_20230820_0_L2A" in text
    assert "S2B_CLOUDY cloud cover 97 % is above max_cloud 80" in text
    assert "peak memory 660 MiB" in text
    assert "Contains modified Copernicus Sentinel data" in text


def test_report_lists_failed_tiles_with_their_error(tmp_path: Path) -> None:
    store = write_small_run(tmp_path)
    record = {"step": "acquire", "tile": "33TWL", "error": "B04.tif <b>is cut off</b>: take another catalog"}
    store.put("run/acquire/33TWL.failed.json", to_json({**record, "kind": "RasterError", "exit_code": 2}))
    page = build_report(store, TWO)
    assert "tile step reason 33TWL acquire B04.tif &lt;b&gt;is cut off&lt;/b&gt;: take another catalog" in extract_text(
        page
    )
    assert page.count('id="failed"') == 1


def test_report_of_a_complete_run_has_no_failures(page: str) -> None:
    assert 'id="failed"' not in page


def test_gather_run_facts_keeps_scene_lists_of_the_first_tiles_only(store: Store) -> None:
    first, second = gather_run_facts(store, TWO, detailed=1).tiles
    assert first.select is not None
    assert first.acquired is not None
    assert (second.select, second.acquired) == (None, None)
    assert (second.looked, second.used) == (2, 2)
    assert {*(second.mosaic or {})} == {"s2ops:holes", "s2ops:gains", "s2ops:scenes"}


def test_seam_summary_keeps_the_worst_edges_and_counts_all() -> None:
    seams = [
        SeamRecord("33TWL", f"n{number:03}", {"excess": number / 100}, {"excess": 1.0}) for number in range(1, 400)
    ]
    edges = SeamSummary().merge(seams[:7]).merge(seams[7:]).merge([SeamRecord("33TWL", "unmeasured", None, None)])
    assert (edges.count, edges.before, edges.after) == (399, 3.99, 1.0)
    assert [seam.neighbour for seam in edges.worst] == [f"n{number:03}" for number in range(399, 199, -1)]


def test_map_layers_count_class_areas_of_overlaps_once(store: Store) -> None:
    facts = gather_run_facts(store, TWO)
    shown = {
        layer.id: layer for layer in layers.draw_map_layers(store, facts, Canvas.from_tiles(parse_tiles(TWO), 120))
    }
    assert list(shown) == ["mosaic", "before", "landcover", "confidence", "dates"]
    legend = shown["landcover"].legend
    assert [entry.label for entry in legend] == [CLASS_NAMES[code] for code in LandCover if code]
    assert sum(entry.percent or 0 for entry in legend) == pytest.approx(100)
    # area of both tiles together, not 2 x (109.8 km)^2 = 24,112 km2
    assert sum(entry.km2 or 0 for entry in legend) == pytest.approx(
        compute_covered_km2(one.tile for one in facts.tiles), rel=0.005
    )
    dates = {entry.label: entry.percent for entry in shown["dates"].legend}
    assert list(dates) == ["2023-08-20", "2023-08-10"]
    assert dates["2023-08-10"] == pytest.approx(25, abs=2)


def test_canvas_paints_a_tile_at_its_position(store: Store) -> None:
    canvas = Canvas.from_tiles(parse_tiles(TWO), 120)
    painted = canvas.paint(store, [(parse_tile("33TWL"), "mosaic/33TWL/mosaic.tif")], (1, 2, 3))
    rows = np.flatnonzero(painted[0].any(axis=1))
    height = canvas.geobox.shape.y
    assert rows.min() > 0.45 * height  # 33TWL is the southern tile
    assert rows.max() > 0.98 * height
    # in the synthetic scenes, red increases to the south and to the east
    middle = painted[0, int(rows.mean())]
    lit = middle[middle > 0]
    assert int(lit[-20]) > int(lit[20])


def test_canvas_across_the_antimeridian_is_as_narrow_as_its_tiles() -> None:
    east = parse_tile("01KAB")
    west = next(other for other in find_neighbours(east) if other.zone == 60)
    canvas = Canvas.from_tiles((east, west), 120, 1000)
    width, height = canvas.geobox.shape.x * canvas.res, canvas.geobox.shape.y * canvas.res
    assert width < 500_000
    assert height < 500_000


def test_border_midpoint_lies_on_the_border_of_one_tile_inside_the_other() -> None:
    lower, upper = parse_tiles(TWO)
    place = find_border_midpoint(upper, lower)
    assert place is not None
    assert place[0] == pytest.approx(15.71, abs=0.02)
    assert upper.footprint.bounds[1] - 0.01 < place[1] < lower.footprint.bounds[3]
    assert find_border_midpoint(parse_tile("33TWL"), parse_tile("30TXK")) is None


def test_report_marks_an_empty_tile(tmp_path: Path) -> None:
    store = write_small_run(tmp_path, TWO, scenes={"33TWL": create_scenes("33TWL"), "33TWM": []})
    text = extract_text(build_report(store, TWO))
    assert "No scene of this tile could be looked at; the tile is empty." in text
    assert "covered 50 % 1 tile with holes" in text
    assert "100.00 % holes" in text


def test_report_states_that_land_cover_is_disabled(tmp_path: Path) -> None:
    store = write_small_run(tmp_path, ("33TWL",), landcover=False)
    text = extract_text(build_report(store, ("33TWL",)))
    assert "No land-cover map was made: landcover.enabled is false" in text
    assert "No edge was measured" in text


def test_report_of_an_empty_folder_states_what_is_missing(tmp_path: Path) -> None:
    text = extract_text(build_report(Store(str(tmp_path)), ("33TWL",)))
    assert "There is no picture, because no tile has a mosaic with data." in text
    assert "There is no scene list (select/33TWL.json)." in text
    assert "The run has no run records" in text


def test_report_leaves_out_a_truncated_raster(tmp_path: Path) -> None:
    store = write_small_run(tmp_path, ("33TWL",))
    path = tmp_path / "mosaic/33TWL/mosaic.tif"
    path.write_bytes(path.read_bytes()[:200])
    page = build_report(store, ("33TWL",))
    assert 'id="layer-mosaic"' not in page
    assert 'id="layer-before"' in page


def test_report_lists_tiles_beyond_the_detailed_ones_with_links(tmp_path: Path) -> None:
    names = tuple(each.name for each in list_all_tiles() if each.name.startswith("33T"))[:20]
    page = build_report(Store(str(tmp_path)), names)
    assert page.count("<details") == MAX_DETAILED
    assert page.count(">scene list</a> <a") == len(names) - MAX_DETAILED


def test_report_shows_scores_if_there_are_any(tmp_path: Path) -> None:
    store = write_small_run(tmp_path, ("33TWL",))
    store.put("report/scores.json", to_json({"landcover": {"f1": {"water": 0.98765}}, "tiles": 1}))
    text = extract_text(build_report(store, ("33TWL",)))
    assert "landcover / f1 / water 0.9877" in text


def test_report_escapes_markup_in_records(tmp_path: Path) -> None:
    scene = create_scenes("33TWL")[1]
    evil = FakeScene(scene.id, scene.datetime, scene.levels, scene.mask)
    store = write_small_run(tmp_path, ("33TWL",), scenes={"33TWL": [evil]})
    data = (store.get("select/33TWL.json") or b"").replace(b"cloud cover 97 %", b"<script>alert(1)</script>")
    store.put("select/33TWL.json", data)
    page = build_report(store, ("33TWL",))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("days", "length"),
    [
        ([f"2023-08-{day:02d}" for day in range(1, 25)], 10),
        ([f"2023-{month:02d}-{day:02d}" for month in range(1, 13) for day in (1, 11, 21)], 7),
        ([f"{year}-{month:02d}-01" for year in (2021, 2022, 2023) for month in range(1, 13)], 4),
    ],
)
def test_choose_date_length_falls_to_months_or_years_for_many_dates(days: list[str], length: int) -> None:
    assert choose_date_length(days) == length


def test_report_without_tiles_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot build a report: the run has no tiles"):
        build_report(Store(str(tmp_path)), ())
