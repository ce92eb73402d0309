"""An episode as an animated picture."""

import pytest
from PIL import Image

from marlserve.experiments import load_balance


def test_frames_are_the_steps_that_were_asked_for(tmp_path):
    file = tmp_path / "episode.gif"
    line = ["watch", "--policy", "sed", "--episode-s", "4", "--warm-up-s", "1", "--to", str(file)]
    assert load_balance.main([*line, "--first", "2", "--frames", "4", "--every", "3"]) == 0
    with Image.open(file) as picture:
        assert picture.n_frames == 4
        assert picture.info["duration"] == 100
        first = picture.convert("RGB").tobytes()
        picture.seek(3)
        assert picture.convert("RGB").tobytes() != first


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--first 100", "first is 100; the episode has 16 steps"),
        ("--every 0", "every is 0; it must be at least 1"),
        ("--colours 1", "colours is 1; allowed are 2 to 256"),
        ("--policy all", "policy is 'all'; expected one"),
    ],
)
def test_a_mistake_is_named(flags, message, tmp_path, capsys):
    line = ["watch", "--policy", "sed", "--episode-s", "4", "--warm-up-s", "1"]
    assert load_balance.main([*line, *flags.split(), "--to", str(tmp_path / "x.gif")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
