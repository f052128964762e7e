"""`tadan poc` on small photographs: what is saved, resumed, refused and shown. Nothing asserts on time."""

import json
import re
import shlex

import pytest
from PIL import Image
from typer.testing import CliRunner

from photo_examples import photo
from tadan.cli.main import app
from tadan_lab.poc.kpis import KPIS
from tadan_lab.poc.plan import SECTIONS
from tadan_lab.poc.plots import plots
from tadan_lab.poc.report import busy_sections, shown

SMALL = shlex.split(
    "--quick --points 3 --seconds 0.05 --held 0.3 --megapixels 0.01 --against jpeg,webp --score 55 --workers 1"
)


def run(*line):
    return CliRunner().invoke(app, ["poc", *map(str, line)])


def save(folder):
    (folder / "below").mkdir(parents=True)
    Image.fromarray(photo("astronaut", 128, 160)).save(folder / "a.png")
    Image.fromarray(photo("coffee", 144, 128)).save(folder / "below" / "b.jpg", quality=83)
    (folder / "bad.png").write_bytes(b"not a picture")
    (folder / "cut.jpg").write_bytes((folder / "below" / "b.jpg").read_bytes()[:1500])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return save(tmp_path_factory.mktemp("poc") / "mine")


@pytest.fixture(scope="module")
def cheap(pictures, tmp_path_factory):
    """A report of the sections that take little, and where it is."""
    out = tmp_path_factory.mktemp("cheap")
    done = run(pictures, "-o", out, *SMALL, "--only", "pictures,bytes")
    assert done.exit_code in (0, 1), done.output
    return out


def document(out):
    return json.loads((out / "poc.json").read_text())


def test_bad_files_are_counted_and_stop_nothing(cheap):
    found = document(cheap)["sections"]["pictures"]
    assert (found["files"], found["readable"], found["unreadable"]) == (4, 2, 2)
    assert {row["name"] for row in found["unreadable_files"]} == {"bad.png", "cut.jpg"}
    assert found["unreadable_percent"] == 50
    assert found["formats"] == {"JPEG": 2, "PNG": 1}
    assert found["jpeg"]["quality"]["p50"] == 83
    assert sum(found["contents"].values()) == found["sample"] == 2


def test_bytes_are_paired_by_picture(cheap):
    found = document(cheap)["sections"]["bytes"]
    assert {row["picture"] for row in found["pictures"]} == {"a.png", "below/b.jpg"}
    for row in found["equal"]:
        assert row["pictures"] + row["left_out"] == 2
    paired = [row for row in found["equal"] if row["score"] == 55 and row["pictures"]]
    assert paired
    for row in paired:
        for picture in found["pictures"]:
            sizes = [picture["bytes"][name] for name in ("tadan", row["rival"])]
            if None not in sizes:
                percent = 100 * (sizes[0] / sizes[1] - 1)
                assert row["best"] - 1e-9 <= percent <= row["worst"] + 1e-9
    assert (cheap / "codec-compare" / "batches.json").exists()
    for one in found["worst"]:
        assert [panel["label"] for panel in one["panels"]] == ["original", "tadan", one["rival"]]
        assert all((cheap / panel["file"]).exists() for panel in one["panels"])


def test_a_report_goes_on_where_it_was_and_keeps_what_it_has(cheap, pictures):
    before = document(cheap)
    done = run(pictures, "-o", cheap, *SMALL, "--only", "pictures,bytes,latency")
    assert "kept from before: pictures, bytes" in done.output
    after = document(cheap)
    assert after["sections"]["bytes"] == before["sections"]["bytes"]
    assert after["runs"]["bytes"] == before["runs"]["bytes"]
    assert after["begun"] == before["begun"]
    latency = after["sections"]["latency"]
    assert latency["warm"]["encode"]["n"] == 3 * 2  # rounds by pictures
    assert latency["cold"]["decode"]["n"] == 2
    assert after["kpis"][list(KPIS).index("encode_p90_s")]["value"] == latency["warm"]["encode"]["p90"]


def test_what_was_fixed_before_the_run_stays_fixed(cheap, pictures, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text("saving_jpeg_percent = 1")
    before = (cheap / "poc.json").read_bytes()
    line = ["-o", cheap, *SMALL, "--only", "pictures"]
    for more, word in ((["--thresholds", limits], "thresholds"), (["--seed", 2], "settings"), ([], "pictures")):
        folder = pictures if more else save(tmp_path / "other")
        if not more:
            Image.fromarray(photo("rocket")).save(folder / "c.png")
        done = run(folder, *line, *more)
        assert done.exit_code == 2
        assert f"begun with other {word}" in " ".join(done.output.split())
        assert (cheap / "poc.json").read_bytes() == before


def test_a_new_report_takes_the_place_of_the_old_one_only_if_it_is_asked_for(pictures, cheap, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "poc.json").write_bytes((cheap / "poc.json").read_bytes())
    done = run(pictures, "-o", out, *SMALL, "--only", "pictures", "--seed", 7, "--redo", "all")
    assert done.exit_code in (0, 1), done.output
    assert list(document(out)["sections"]) == ["pictures"]
    assert document(out)["plan"]["seed"] == 7


def test_an_interrupted_run_has_what_was_done(pictures, tmp_path, monkeypatch):
    from tadan_lab.poc import rate

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(rate, "measure_bytes", interrupt)
    done = run(pictures, "-o", tmp_path, *SMALL, "--only", "pictures,bytes")
    assert done.exit_code == 130
    assert list(document(tmp_path)["sections"]) == ["pictures"]


def test_folders_without_pictures_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    for folder, word in (("empty", "no picture"), ("none", "no folder"), ("bad", "can be measured")):
        done = run(tmp_path / folder, "-o", tmp_path / "out")
        assert done.exit_code == 2
        assert word in " ".join(done.output.split())
        assert not (tmp_path / "out").exists()


def test_mistakes_are_told_before_anything_is_measured(pictures, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"format": "another"}')
    for line, word in (
        (["--compare", other], "no report of tadan poc"),
        (["--compare", tmp_path / "none.json"], "none.json"),
        (["--against", "gif"], "Unknown codec"),
        (["--skip", "all"], "no section"),
        (["--reads", "0"], "reads is a share"),
        (["--megapixels", "one"], "not numbers"),
    ):
        done = run(pictures, "-o", tmp_path / "out", *SMALL, *line)
        assert done.exit_code == 2, line
        assert word in " ".join(done.output.split())
        assert not (tmp_path / "out").exists()


def test_money_needs_what_it_is_made_of(pictures, tmp_path):
    done = run(pictures, "-o", tmp_path, *SMALL, "--only", "pictures,money")
    assert done.exit_code == 2
    assert "money needs the section bytes" in " ".join(done.output.split())


@pytest.mark.slow
def test_everything_ends_in_one_page(pictures, cheap, tmp_path, monkeypatch):
    """All sections with a service that is started, asked and killed; golden streams are tested elsewhere."""
    monkeypatch.setattr("tadan.conformance.load_sets", lambda _: [])
    limits = tmp_path / "limits.toml"
    limits.write_text(
        "unreadable_percent = 60\nlost_uploads = 0\nsaving_jxl_percent = 0\nwrong_tiles = -1\nsilent_cuts = 0\n"
    )
    out = tmp_path / "out"
    line = [pictures, "-o", out, *SMALL, "--thresholds", limits]
    done = run(*line, "--compare", cheap / "poc.json")
    assert done.exit_code == 1, done.output  # a number of tiles is never negative
    found = document(out)
    assert list(found["sections"]) == list(SECTIONS)
    verdicts = {row["key"]: row["verdict"] for row in found["kpis"] if row["verdict"]}
    assert verdicts.pop("saving_jxl_percent") == "not measured"
    assert verdicts == {
        "unreadable_percent": "pass",
        "lost_uploads": "pass",
        "wrong_tiles": "fail",
        "silent_cuts": "pass",
    }
    recovery, held = found["sections"]["recovery"], found["sections"]["scenarios"]["service"]["held"]
    assert recovery["workers"]["wrong"] == 0
    assert recovery["workers"]["answers"] > 0
    assert recovery["service"]["half_kept"] == recovery["service"]["torn"] == recovery["service"]["lost"] == 0
    assert 0 < recovery["service"]["acknowledged"] < recovery["service"]["uploads"]
    assert held["arrived"] == sum(row["arrived"] for row in held["timeline"])
    assert {row["key"] for row in found["compare"]["rows"]} == set(KPIS)
    check_page((out / "report.html").read_text(), found)


def check_page(page, found):
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page.replace("xlink:href", "href")) == []
    assert "<script" not in page
    assert "1 of 5 thresholds missed" in page
    for row in found["kpis"]:
        if row["threshold"] is not None and row["value"] is not None:
            assert f">{shown(row['value'], row['unit'])}</data>" in page
    for name in ("Bytes at equal visual quality", "MLPerf", "Recovery", "Money", "ladder of adoption", "Against cheap"):
        assert name in page
    drawn = plots(found["sections"])  # without an arrival in so short a time there is nothing to draw of it
    assert {"sizes", "saving", "latency", "loads", "memory", "money"} <= set(drawn)
    assert page.count("<svg ") == len(drawn)


def test_times_of_a_busy_machine_are_called_so():
    runs = {
        "latency": {"load_before": 9.0},
        "memory": {"load_before": 1.0},
        "bytes": {"load_before": 9.0},
        "recovery": {},
    }
    assert busy_sections({"machine": {"cores": "2"}, "runs": runs}) == ["latency"]
    assert busy_sections({"machine": {"cores": "16"}, "runs": runs}) == []
    assert busy_sections({"machine": {}, "runs": runs}) == []


def test_figures_are_shown_with_three_digits():
    assert [shown(value) for value in (0, 5, 0.0123, 0.9996, 1.2345, 99.96, 12345.6, None)] == [
        *("0", "5", "0.0123", "1.00", "1.23", "100", "12,346", "-")
    ]
