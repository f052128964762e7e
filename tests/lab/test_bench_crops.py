"""``tadan lab crops``: telling places, one sheet a picture, rivals at our size."""

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from photo_examples import photo
from tadan.cli.main import app
from tadan_lab.measure.crops import CROP, telling_boxes


def mean_gradient(image, box):
    grey = np.asarray(image.convert("L").crop(box), float)
    return np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()


def test_boxes_go_from_detail_to_quiet_and_do_not_overlap():
    image = Image.fromarray(skimage.data.astronaut())
    boxes = telling_boxes(image)
    assert len(set(boxes)) == len(boxes) == 3
    gradients = [mean_gradient(image, box) for box in boxes]
    assert gradients == sorted(gradients, reverse=True)
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert (right - left, bottom - top) == (CROP, CROP)
        for other in boxes[index + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


@pytest.mark.parametrize("shape", [(1, 1), (40, 200), (170, 170)], ids=str)
def test_small_and_flat_pictures_have_a_box_inside(shape):
    for picture in (photo("chelsea", *shape), np.zeros((*shape, 3), np.uint8)):
        for left, top, right, bottom in telling_boxes(Image.fromarray(picture)):
            assert 0 <= left < right <= shape[1]
            assert 0 <= top < bottom <= shape[0]


def test_a_sheet_for_every_picture_with_rivals_at_our_size(tmp_path):
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(photo(name, 150, 240)).save(tmp_path / f"{name}.png")
    arguments = ["lab", "crops", str(tmp_path), "--out", str(tmp_path / "sheets"), "-q", "70", "--against", "webp"]
    shown = CliRunner().invoke(app, [*arguments, "--every", "2", "--metrics", "psnr", "--threads", "1"])
    assert shown.exit_code == 0, shown.output
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["chelsea-q70.webp", "rocket-q70.webp"]
    rates = [float(line.split(": ")[1].split(" bpp")[0]) for line in shown.output.splitlines() if " bpp" in line]
    assert len(rates) == 4
    assert rates[1] == pytest.approx(rates[0], rel=0.3)
    assert rates[3] == pytest.approx(rates[2], rel=0.3)
    sheet = Image.open(tmp_path / "sheets" / "rocket-q70.webp")
    assert sheet.height > 3 * 2 * CROP  # the original, ours, a rival
    wrong = CliRunner().invoke(app, [*arguments, "--against", "gif"])
    assert wrong.exit_code == 2


def test_chosen_places_of_chosen_pictures(tmp_path):
    for name in ("chelsea", "coffee"):
        Image.fromarray(photo(name, 200, 240)).save(tmp_path / f"{name}.png")
    arguments = ["lab", "crops", str(tmp_path), "--out", str(tmp_path / "sheets"), "-q", "70", "--metrics", "psnr"]
    arguments += ["--threads", "1", "--against", "webp"]
    shown = CliRunner().invoke(app, [*arguments, "--at", "coffee:70,30"])
    assert shown.exit_code == 0, shown.output
    [path] = (tmp_path / "sheets").iterdir()
    assert path.name == "coffee-q70.webp"
    sheet, corner = np.asarray(Image.open(path).convert("RGB"), float), photo("coffee", 200, 240)[30:190, 70:230]
    panel = sheet[8 : 8 + 2 * CROP : 2, 8 : 8 + 2 * CROP : 2]
    assert np.abs(panel - corner).mean() < 4  # the original is the first panel; the sheet is a WebP
    for place, word in (("tea:0,0", "no picture tea"), ("coffee:0", "STEM:X,Y"), ("coffee:240,0", "not in coffee")):
        wrong = CliRunner().invoke(app, [*arguments, "--at", place])
        assert wrong.exit_code == 2
        assert word in " ".join(wrong.output.split())
