"""Zooming into kept pictures as viewers do: every tile of info.json is there, of its size, and shows its place."""

import importlib
import io
import json
import math
import os
import re
import urllib.parse
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

import tadan
from tadan.bitstream import Stream, read_stream, write_stream
from tadan.serve.iiif import DIRECT_PIXELS

if "TADAN_TESTS_NO_SKIP" in os.environ:
    playwright = importlib.import_module("playwright.sync_api")
else:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT = 300_000  # milliseconds: a guard against waiting for ever, no measure of the service
NEAR = 12  # mean difference of a view from the same part of the original; parts of other places differ by far more
SIZES = {"small": (200, 160), "folder/odd": (1201, 777), "large": (2500, 2000)}
VIEWER = """<!doctype html><meta charset="utf-8"><title>Viewer</title><link rel="icon" href="data:,">
<div id="viewer" style="width: 700px; height: 500px"></div><script src="openseadragon.js"></script>"""


def photograph(width, height):
    return Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def kept(service_at):
    """Pictures by key, after they were put."""
    pictures = {key: photograph(*size) for key, size in SIZES.items()}
    for key, picture in pictures.items():
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95)
        address = f"{service_at}/pictures/{key}?effort=0&quality=80"
        with urllib.request.urlopen(urllib.request.Request(address, file.getvalue(), method="PUT")) as answer:
            assert answer.status == 201
    return pictures


def info_of(base, key):
    with urllib.request.urlopen(f"{base}/iiif/{urllib.parse.quote(key, safe='')}/info.json") as answer:
        return json.load(answer)


def views(info):
    """All tiles that info.json offers: region and size, as https://iiif.io/api/image/3.0/implementation/ makes them."""
    (tiles,) = info["tiles"]
    for factor in tiles["scaleFactors"]:
        across, down = tiles["width"] * factor, tiles.get("height", tiles["width"]) * factor
        for y in range(0, info["height"], down):
            for x in range(0, info["width"], across):
                w, h = min(across, info["width"] - x), min(down, info["height"] - y)
                yield (x, y, w, h), (math.ceil(w / factor), math.ceil(h / factor))


def address_of(info, region, size):
    """The canonical address, in which the whole picture and its own size have words."""
    whole = region == (0, 0, info["width"], info["height"])
    parts = ("full" if whole else "{},{},{},{}".format(*region), "max" if size == region[2:] else "{},{}".format(*size))
    return f"{info['id']}/{parts[0]}/{parts[1]}/0/default.jpg"


# Loads pictures as a viewer does, a few at a time.
LOAD = """async (addresses) => {
    const left = [...addresses];
    const work = async () => {
        for (let address = left.pop(); address; address = left.pop()) {
            const image = new Image();
            image.src = address;
            await image.decode();
        }
    };
    await Promise.all([work(), work(), work(), work()]);
}"""


def assert_near(shown, meant):
    assert shown.size == meant.size
    assert np.abs(np.asarray(shown, float) - np.asarray(meant, float)).mean() < NEAR


@pytest.mark.parametrize("key", SIZES)
def test_every_tile_is_there_and_shows_its_place(browser, service_at, kept, key):
    info, picture = info_of(service_at, key), kept[key]
    assert (info["width"], info["height"]) == picture.size
    wanted = {address_of(info, *view): view for view in views(info)}
    assert any(region[2:] == picture.size and max(size) <= 512 for region, size in wanted.values())
    if key == "large":  # the coarsest view is not decoded for itself
        assert max(region[2] * region[3] for region, size in wanted.values() if size != region[2:]) > DIRECT_PIXELS
    page = browser.new_page()
    answers = {}
    page.on("response", lambda response: answers.update({response.url: response}))
    page.goto(f"{service_at}/")
    page.evaluate(LOAD, list(wanted))
    assert {answer.status for answer in answers.values()} == {200}
    for address, ((x, y, w, h), size) in wanted.items():
        shown = Image.open(io.BytesIO(answers[address].body()))
        assert_near(shown, picture.resize(size, Image.Resampling.LANCZOS, (x, y, x + w, y + h)))
    page.close()


@pytest.mark.parametrize("key", SIZES)
def test_sizes_of_the_whole_are_there(service_at, kept, key):
    info = info_of(service_at, key)
    for size in info["sizes"]:
        with urllib.request.urlopen(f"{info['id']}/full/{size['width']},{size['height']}/0/default.png") as answer:
            shown = Image.open(answer).convert("RGB")
        assert_near(shown, kept[key].resize((size["width"], size["height"]), Image.Resampling.LANCZOS))


@pytest.fixture
def openseadragon(request):
    """Text of the viewer, which is no part of the package."""
    folder = request.config.cache.mkdir("openseadragon")
    file = folder / "node_modules/openseadragon/build/openseadragon/openseadragon.min.js"
    text = f"there is no OpenSeadragon; fetch it: npm install --prefix {folder} openseadragon"
    if not file.exists():
        pytest.fail(text) if "TADAN_TESTS_NO_SKIP" in os.environ else pytest.skip(text)
    return file.read_text(encoding="utf-8")


# Opens a picture, and tells when all tiles of what is seen are drawn, first whole and then close.
OPEN = """(source) => {
    window.failed = [];
    window.viewer = OpenSeadragon({ id: "viewer", tileSources: source, showNavigationControl: false,
                                    drawer: "canvas", animationTime: 0, blendTime: 0, timeout: 300000 });
    for (const name of ["open-failed", "tile-load-failed"])
        viewer.addHandler(name, (event) => failed.push(event.message));
    return new Promise((go) => viewer.addOnceHandler("open", () => {
        const item = viewer.world.getItemAt(0);
        const whole = () => (item.getFullyLoaded() ? go(item.source.dimensions.x) : setTimeout(whole, 50));
        setTimeout(whole, 50);
    }));
}"""
ZOOM = """() => new Promise((go) => {
    const item = viewer.world.getItemAt(0);
    viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(1), null, true);
    const close = () => (item.getFullyLoaded() ? go() : setTimeout(close, 50));
    setTimeout(close, 300);
})"""


HUGE = 10_240  # pixels a side: above 100 megapixels


@pytest.fixture(scope="module")
def huge(service_at):
    """A kept picture of 105 megapixels: one tile of a photograph, ten times in each direction, as tiles stand alone."""
    one = read_stream(tadan.encode(photograph(1024, 1024), quality=60, effort=0, fallback=False))
    header = replace(one.header, width=HUGE, height=HUGE, tile_size=1024)
    body = write_stream(Stream(header, {}, one.tiles * header.tile_count))
    with urllib.request.urlopen(urllib.request.Request(f"{service_at}/pictures/huge", body, method="PUT")) as answer:
        assert answer.status == 201
    return "huge"


def zoomed(browser, base, key, width, text):
    """Open a viewer, look at the whole and then closely; returns all answers as address and status."""
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    answers = []
    page.on("response", lambda response: answers.append((response.url, response.status)))
    page.route("**/viewer.html", lambda route: route.fulfill(content_type="text/html", body=VIEWER))
    page.route("**/openseadragon.js", lambda route: route.fulfill(content_type="text/javascript", body=text))
    page.goto(f"{base}/viewer.html")
    assert page.evaluate(OPEN, f"{base}/iiif/{key}/info.json") == width
    page.evaluate(ZOOM)
    assert page.evaluate("failed") == []
    page.close()
    return answers


@pytest.mark.parametrize("key", ["large", "huge"])
def test_a_viewer_zooms(browser, service_at, request, openseadragon, key):
    request.getfixturevalue("kept" if key == "large" else "huge")
    answers = zoomed(browser, service_at, key, HUGE if key == "huge" else SIZES[key][0], openseadragon)
    assert {status for _, status in answers} == {200}
    tiles = [found for url, _ in answers if (found := re.search(rf"/iiif/{key}/(full|[\d,]+)/", url))]
    regions = [None if tile[1] == "full" else tuple(map(int, tile[1].split(","))) for tile in tiles]
    offered = {region for region, size in views(info_of(service_at, key)) if region[2:] == size}
    assert offered & set(regions)  # tiles of full sharpness, after coarser ones
    assert set(regions) - offered
