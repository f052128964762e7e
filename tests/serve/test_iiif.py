"""IIIF Image API 3, level 1: what viewers ask for, and what they may not."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tadan
from serve_examples import client, photograph
from tadan.serve import iiif
from tadan.serve.iiif import info_document, parsed_view
from tadan.serve.pool import Problem
from tadan.serve.work import Wish

CODED = tadan.encode(photograph(), quality=50, effort=0, fallback=False)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with client(tmp_path_factory.mktemp("service")) as one:
        one.put("/pictures/a/b", content=CODED)
        yield one


def shown(service, path):
    answer = service.get(f"/iiif/a%2Fb/{path}")
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_the_document_says_what_the_specification_asks_for(service):
    answer = service.get("/iiif/a%2Fb/info.json")
    assert answer.headers["access-control-allow-origin"] == "*"
    said = answer.json()
    assert said["@context"] == "http://iiif.io/api/image/3/context.json"
    assert (said["type"], said["protocol"], said["profile"]) == ("ImageService3", "http://iiif.io/api/image", "level1")
    assert said["id"].endswith("/iiif/a%2Fb")
    assert (said["width"], said["height"]) == (120, 88)
    moved = service.get("/iiif/a%2Fb", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"].endswith("/iiif/a%2Fb/info.json")) == (303, True)


def test_views_are_cut_and_scaled(service):
    whole = np.asarray(tadan.decode(CODED))
    np.testing.assert_array_equal(np.asarray(shown(service, "full/max/0/default.png")), whole)
    part = shown(service, "10,20,30,40/max/0/default.png")
    np.testing.assert_array_equal(np.asarray(part), whole[20:60, 10:40])
    for path, size in {
        "full/60,/0/default.jpg": (60, 44),
        "full/,22/0/default.webp": (30, 22),
        "square/44,44/0/default.jpg": (44, 44),
        "100,80,500,500/max/0/color.png": (20, 8),
        "full/30,80/0/default.avif": (30, 80),
    }.items():
        assert shown(service, path).size == size


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("full/max/90/default.jpg", 501),
        ("full/max/up/default.jpg", 400),
        ("full/max/0/gray.jpg", 501),
        ("full/max/0/fine.jpg", 400),
        ("full/max/0/default.tif", 501),
        ("full/max/0/default.xyz", 400),
        ("full/max/0/default", 400),
        ("pct:1,1,5,5/max/0/default.jpg", 501),
        ("200,0,5,5/max/0/default.jpg", 400),
        ("1,2,3/max/0/default.jpg", 400),
        ("full/0,/0/default.jpg", 400),
        ("full/121,/0/default.jpg", 400),
        ("full/,/0/default.jpg", 400),
        ("full/^200,/0/default.jpg", 501),
        ("full/!9,9/0/default.jpg", 501),
    ],
)
def test_what_level_1_does_not_have_is_said(service, path, status):
    assert service.get(f"/iiif/a%2Fb/{path}").status_code == status


def test_pictures_that_are_not_there(service):
    assert service.get("/iiif/none/info.json").status_code == 404
    assert service.get("/iiif/..%2Fup/info.json").status_code == 400


def test_large_pictures_are_shown_from_an_overview(service, monkeypatch):
    """With a tiny bound: scaled views of more come from a rendition that is made once, unscaled ones never do."""
    monkeypatch.setattr(iiif, "DIRECT_PIXELS", 50 * 50)
    monkeypatch.setattr(iiif, "OVERVIEW", Wish("webp", 90, reduce=4))
    small = np.asarray(shown(service, "full/30,22/0/default.png")).astype(float)
    truth = np.asarray(tadan.decode(CODED).resize((30, 22), Image.Resampling.LANCZOS)).astype(float)
    assert np.abs(small - truth).mean() < 6
    right = np.asarray(shown(service, "60,0,60,88/15,22/0/default.png")).astype(float)
    assert np.abs(right - small[:, 15:]).mean() < 8
    exact = shown(service, "0,0,100,80/max/0/default.png")
    np.testing.assert_array_equal(np.asarray(exact), np.asarray(tadan.decode(CODED))[:80, :100])


@given(st.integers(1, 70_000), st.integers(1, 70_000))
def test_tiles_of_every_scale_cover_the_picture(width, height):
    document = info_document("id", width, height)
    [tiles] = document["tiles"]
    for factor in tiles["scaleFactors"]:
        side = tiles["width"] * factor
        for left in {0, (width - 1) // side * side}:
            for top in {0, (height - 1) // side * side}:
                w, h = min(side, width - left), min(side, height - top)
                view = parsed_view(f"{left},{top},{w},{h}", f"{-(-w // factor)},", "0", "default", width, height)
                assert view.region == (left, top, w, h)
                assert view.size[0] == -(-w // factor)
                assert 1 <= view.size[1] <= h
    assert max(width, height) <= tiles["width"] * tiles["scaleFactors"][-1]


@given(st.text(max_size=20), st.text(max_size=20), st.text("0123456789!.", max_size=5), st.text(max_size=9))
def test_any_parameters_are_a_view_or_a_problem(region, size, rotation, quality):
    with suppress(Problem):
        assert parsed_view(region, size, rotation, quality, 300, 200).pixels > 0
