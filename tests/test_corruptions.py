"""Each metric moves the right way as real samples are made worse, and the page says so."""

from collections.abc import Iterator

import pytest
import torch

from gantool.commands import corruptions
from gantool.commands.corruptions import FLOOR, SHOULD, STRENGTHS, Thirds, course, moves, stuck
from gantool.datasets.digits import Digits


@pytest.fixture(scope="module")
def digits() -> Iterator[Thirds]:
    """With a tenth of KID's subsets, which take most of the time."""
    shelf = corruptions.shelf()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruptions, "shelf", lambda: shelf | {"kid": shelf["kid"] | {"subsets": 10}})
        yield Thirds(Digits())


@pytest.fixture(scope="module")
def table(digits) -> corruptions.Table:
    return corruptions.measure(digits)


def test_the_metrics_move_as_they_should(table):
    for column, ways in SHOULD.items():
        for damage, way in ways.items():
            values = course(table, column, damage)
            assert moves(values, way), (column, damage, values)


def test_every_metric_of_samples_has_something_to_say(digits):
    for name, metric in corruptions.chosen(digits).items():
        assert SHOULD.keys() & set(metric.columns), name


def test_the_floor(table):
    """Fresh real images are no copies, miss no class, and are as alike as the training images are."""
    fresh, train = table[FLOOR], table["all are: real train"]
    assert abs(fresh["memorization"] - 0.5) < 0.05 and fresh["copied"] < 0.01
    assert fresh["class_kl"] < 0.05
    assert fresh["ms_ssim"] == pytest.approx(fresh["ms_ssim_data"], abs=0.04)
    assert fresh["precision"] == pytest.approx(fresh["recall"], abs=0.08) and fresh["coverage"] > 0.9
    assert fresh["fid"] < 1 < table["noise, sd 0.3"]["fid"] and train["fid"] < 1e-6
    assert fresh["parzen"] == pytest.approx(train["parzen"], abs=1.5)  # three standard errors
    assert (train["memorization"], train["copied"]) == (1, 1)


def test_the_parts_share_nothing(digits):
    """1,797 examples, 599 in each part: all of them, once."""
    parts = [digits.load(split).pixels.flatten(1) for split in ("train", "test", "fresh")]
    whole = torch.cat([Digits().load(split).pixels.flatten(1) for split in ("train", "test")])
    assert [len(part) for part in parts] == [599] * 3
    rows = lambda images: sorted(map(tuple, images.tolist()))  # noqa: E731
    assert rows(torch.cat(parts)) == rows(whole)


def test_a_step_back_is_no_move():
    assert moves([1.0, 1.0, 2.0], 1) and moves([3.0, 1.0], -1)
    assert not moves([1.0, 3.0, 2.0], 1) and not moves([1.0, 1.0], 1) and not moves([1.0, 2.0], -1)


def test_the_page_and_what_is_stuck(table):
    text = corruptions.page(table, 599)
    assert list(stuck(table)) == []
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert set(rows) == {"samples", FLOOR, *(name for names in STRENGTHS.values() for name in names.values())}
    assert "**" not in rows[FLOOR] and "**" in rows["noise, sd 1"]
    columns = rows["samples"].split(" | ")
    cell = rows["all are: real train"].split(" | ")[columns.index("`copied`")]
    assert cell == "**1**"
    still = {name: values | {"copied": 0.0} for name, values in table.items()}
    assert list(stuck(still)) == ["copied under memorising"]
    (row,) = (line for line in corruptions.page(still, 599).splitlines() if line.startswith("| all are: real train"))
    assert row.split(" | ")[columns.index("`copied`")] == "0"
