"""The command `watch`."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from marlserve import envs
from marlserve.experiments.harness.evaluate import play
from marlserve.experiments.harness.experiment import RUNS
from marlserve.experiments.studies.options import NONE, SourceFlags, asked
from marlserve.experiments.studies.study import Study


@dataclass(frozen=True)
class Watch:
    """Play an episode, and write what it looks like as an animated picture (GIF)."""

    policy: str = "random"  # a heuristic by name, or the folder of a run
    preset: str = ""  # what to play
    seed: int = 0  # of the episode
    first: int = 0  # step to show
    frames: int = 100  # to show
    every: int = 1  # steps from one frame to the next
    frames_per_s: float = 10.0
    colours: int = 32  # fewer make a smaller file
    to: Path = Path("episode.gif")
    out: Path = RUNS  # where all runs are
    source: SourceFlags = NONE
    problem: Any = None

    def run(self, study: Study) -> None:
        for name, least in (("first", 0), ("frames", 2), ("every", 1), ("frames_per_s", 0.1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 2 <= self.colours <= 256:
            raise ValueError(f"colours is {self.colours}; allowed are 2 to 256")
        config = asked(study.presets[self.preset], self)
        study.check(self.preset, config, "watch")
        contestant = study.contestant(study.prepared(config, self.out, ("train",)), self.policy)
        problem = envs.module(study.problem).Problem(contestant.config)
        pictures: list[Image.Image] = []
        steps = count()
        shown = range(self.first, self.first + self.frames * self.every, self.every)

        def look(_step: object) -> None:
            if next(steps) in shown:
                pixels = problem.render(0, "rgb_array")
                assert isinstance(pixels, np.ndarray)
                pictures.append(Image.fromarray(pixels).quantize(self.colours))

        play(problem, contestant.policy(problem), [self.seed], look)
        if len(pictures) < 2:
            raise ValueError(f"first is {self.first}; the episode has {next(steps)} steps")
        duration_ms = round(1000 / self.frames_per_s)
        pictures[0].save(
            self.to, save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0
        )
        print(f"{contestant.name}, {len(pictures)} frames: {self.to}")
