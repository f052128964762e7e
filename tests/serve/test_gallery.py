"""Pictures that are kept: negotiated, cached, conditional, in parts; and no key that leaves the store."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tadan
from serve_examples import client, opened, photograph, picture_bytes
from tadan.serve.negotiate import Part, accepted, choose_format, requested_part
from tadan.serve.pool import Problem
from tadan.serve.store import Cache, Store, checked_key

CODED = tadan.encode(photograph(), quality=50, effort=0, fallback=False)
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with client(tmp_path_factory.mktemp("service")) as one:
        assert one.put("/pictures/set/one", content=CODED).status_code == 201
        yield one


@pytest.mark.parametrize(
    ("header", "alpha", "expected"),
    [
        (None, False, "jpeg"),
        ("*/*", True, "png"),
        (CHROME, False, "avif"),
        ("image/webp,*/*", False, "webp"),
        ("image/x-tadan", False, "tdn"),
        ("image/x-tadan,image/avif", False, "tdn"),
        ("image/x-tadan;q=0.1,image/webp", False, "webp"),
        ("image/*", False, "jpeg"),
        ("image/png;q=0.9, image/jpeg;q=0.3", False, "png"),
        ("image/jpeg;q=0, */*", False, "avif"),
        ("image/avif;q=0,image/webp;q=0,*/*;q=0.1", True, "png"),
        ("text/html", False, None),
        ("image/avif;q=0", False, None),
        ("nonsense, ;;, image/webp;q=2", False, None),
        ("IMAGE/WEBP", False, "webp"),
    ],
)
def test_the_format_follows_from_accept(header, alpha, expected):
    assert choose_format(header, alpha) == expected


@given(st.text(max_size=80), st.booleans())
def test_any_header_gives_a_format_or_none(header, alpha):
    assert choose_format(header, alpha) in {None, "tdn", "avif", "webp", "jpeg", "png"}
    assert all(0 <= weight <= 1 for _, weight in accepted(header))


@given(st.integers(0, 50), st.text("bytes=0123456789-,", max_size=16))
def test_any_range_is_a_part_of_the_body_or_the_whole(length, header):
    part = requested_part({"range": header}, '"tag"', length)
    if part is not None and part.satisfiable:
        assert 0 <= part.first <= part.last < length


def test_ranges():
    def part(header, length=100, **more):
        return requested_part({"range": header, **more}, '"tag"', length)

    assert part("bytes=0-9") == Part(0, 9)
    assert part("bytes=90-") == Part(90, 99)
    assert part("bytes=-10") == Part(90, 99)
    assert part("bytes=50-400") == Part(50, 99)
    assert not part("bytes=100-").satisfiable
    assert part("bytes=9-3") is None
    assert part("bytes=0-1,4-5") is None
    assert part("bytes=0-9", **{"if-range": '"other"'}) is None


def test_clients_get_what_they_take(service):
    shown = service.get("/pictures/set/one", headers={"Accept": CHROME})
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/avif")
    assert shown.headers["vary"] == "Accept"
    own = service.get("/pictures/set/one", headers={"Accept": "image/x-tadan"})
    assert own.content == CODED
    png = service.get("/pictures/set/one?format=png")
    np.testing.assert_array_equal(np.asarray(opened(png)), np.asarray(tadan.decode(CODED)))
    assert "vary" not in png.headers
    assert service.get("/pictures/set/one", headers={"Accept": "text/html"}).status_code == 406
    head = service.head("/pictures/set/one?format=png")
    assert (head.content, head.headers["etag"]) == (b"", png.headers["etag"])
    assert head.headers["content-length"] == str(len(png.content))


def test_renditions_are_made_once(service, tmp_path_factory):
    def hits():
        lines = service.get("/metrics").text.splitlines()
        return float(next((one for one in lines if 'tadan_cache_total{result="hit"}' in one), "0 0").split()[1])

    before = hits()
    first = service.get("/pictures/set/one?format=webp&w=50")
    second = service.get("/pictures/set/one?format=webp&w=50")
    assert hits() == before + 1
    assert first.content == second.content
    assert opened(first).size == (50, 37)


def test_conditional_requests_and_parts(service):
    whole = service.get("/pictures/set/one?format=jpeg")
    tag = whole.headers["etag"]
    assert not tag.startswith("W/")
    for header in (tag, f'"x", {tag}', "*", f"W/{tag}"):
        again = service.get("/pictures/set/one?format=jpeg", headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b"")
    assert service.get("/pictures/set/one?format=jpeg", headers={"If-None-Match": '"x"'}).status_code == 200
    part = service.get("/pictures/set/one?format=jpeg", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    assert service.get("/pictures/set/one?format=jpeg", headers={"Range": "bytes=999999-"}).status_code == 416
    tags = {service.get(f"/pictures/set/one?{query}").headers["etag"] for query in ("format=png", "format=webp", "w=9")}
    assert len(tags) == 3


def test_a_picture_that_changes_changes_its_tags(service):
    first = service.put("/pictures/changing", content=CODED)
    shown = service.get("/pictures/changing?format=png")
    again = service.put("/pictures/changing?effort=0&quality=30", content=picture_bytes())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["content"] == "latents"
    now = service.get("/pictures/changing?format=png", headers={"If-None-Match": shown.headers["etag"]})
    assert now.status_code == 200
    assert now.content != shown.content
    assert service.delete("/pictures/changing").status_code == 204
    assert service.get("/pictures/changing").status_code == 404
    assert service.delete("/pictures/changing").status_code == 404


def test_what_is_damaged_is_not_kept(service):
    assert service.put("/pictures/bad", content=CODED[:-5]).status_code == 422
    assert service.put("/pictures/bad", content=b"text").status_code == 415
    assert service.get("/pictures/bad").status_code == 404


def test_a_file_that_was_damaged_in_the_store_is_an_error(service, tmp_path):
    with client(tmp_path) as one:
        one.put("/pictures/a/b", content=CODED)
        path = tmp_path / "store" / "a" / "b.tdn"
        assert path.read_bytes() == CODED
        path.write_bytes(CODED[:60])
        assert one.get("/pictures/a/b?format=png").json()["error"] == "Truncated"
        path.write_bytes(b"other")
        assert one.get("/pictures/a/b?format=png").status_code == 422


def test_previews_come_one_after_the_other(service):
    answer = service.get("/pictures/set/one?format=jpeg&progressive=true")
    assert answer.headers["content-type"].startswith("multipart/x-mixed-replace; boundary=")
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = answer.content.split(f"--{boundary}".encode())
    assert (parts[0], parts[-1].strip()) == (b"", b"--")
    pictures = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]]
    assert len(pictures) > 2
    assert pictures[-1] == service.get("/pictures/set/one?format=jpeg").content
    assert all(Image.open(io.BytesIO(one)).size == (120, 88) for one in pictures)


BAD_KEYS = ("a//b", "/root", "a/", ".hidden", "a/.b", "a\\b", "a b", "ä", "a\0b", "a" * 101, "%2e%2e", "-a", "a:b", "~")
UNSENT = ("", ".", "..", "../up", "a/../b", "a\n", "a/b/c/d/e/f/g/h/i")  # clients make other keys of most of them


@pytest.mark.parametrize("key", [*BAD_KEYS, *UNSENT])
def test_no_other_key_reaches_the_store(key, service):
    with pytest.raises(Problem) as found:
        checked_key(key)
    assert found.value.status == 400
    for method in ("GET", "PUT", "DELETE") if key in BAD_KEYS else ():
        url = "/pictures/" + key.replace("%", "%25").replace("\0", "%00")
        assert service.request(method, url, content=CODED).status_code in (400, 404)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}(/[A-Za-z0-9][A-Za-z0-9._-]{0,9}){0,3}", fullmatch=True))
def test_keys_stay_below_the_store(key):
    store = Store("/srv/pictures")
    path = store._path(checked_key(key))
    assert path.startswith("/srv/pictures/")
    assert ".." not in path.split("/")


def test_other_file_systems_than_folders(tmp_path):
    with client(tmp_path, store="memory://bucket/pictures") as one:
        assert one.put("/pictures/x/y", content=CODED).status_code == 201
        assert one.get("/pictures/x/y?format=tdn").content == CODED
        assert one.delete("/pictures/x/y").status_code == 204
        assert one.get("/pictures/x/y").status_code == 404
    with client(tmp_path, store=None) as none:
        assert none.get("/pictures/x").json()["error"] == "NoStore"


def test_the_cache_stays_within_its_bytes(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    for number in range(30):
        cache.put(f"{number:02}name", bytes(100))
        assert sum(one.stat().st_size for one in (tmp_path / "cache").rglob("*") if one.is_file()) <= 1000
    assert cache.get("29name") == bytes(100)
    assert cache.get("00name") is None
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file", 1000).put("aa", b"x")  # no place for it: no error


def test_a_jpeg_kept_byte_for_byte_is_handed_out_as_it_was(service):
    pytest.importorskip("lepton_jpeg_python")
    given = picture_bytes(form="JPEG", quality=92)
    made = service.put("/pictures/kept", params={"lossless_jpeg": True}, content=given)
    assert made.json()["content"] == "jpeg-file"
    assert made.json()["bytes"] < len(given)
    assert service.get("/pictures/kept", headers={"Accept": "image/jpeg"}).content == given
    assert opened(service.get("/pictures/kept", headers={"Accept": "image/webp"})).size == photograph().size
    smaller = service.get("/pictures/kept", headers={"Accept": "image/jpeg"}, params={"w": 32})
    assert opened(smaller).width == 32
    assert service.post("/decode", params={"format": "jpeg"}, content=made_file(service)).content == given


def made_file(service):
    return service.get("/pictures/kept", headers={"Accept": "image/x-tadan"}).content
