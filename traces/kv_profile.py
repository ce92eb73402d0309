"""What answering a prompt costs, and how good the answer is, under each size of the KV cache.

    profile = traces.load("kv_profile", rng)                       # synthetic, 200 prompts
    profile = traces.load("kv_profile", path="gov_report")         # a folder of measurements
    profile.service_s[0, prompt]                                   # with the smallest cache

A profile is no `Trace`, as it has no time: it is a `KVProfile`. Its C = 6 configurations are the
budgets of SnapKV (tokens that stay in the cache) in rising order, and last the full cache.

The folder has a file for each, such as snapkv_64.csv and fullkv.csv, and no other CSV. Row r is the
same prompt in all of them:

    times,energies,scores             seconds to answer, joules of the accelerator, quality (0 to 1)
    13.327921,3555.460999,0.368749

The synthetic profile is calibrated to 200 summaries of GovReport at batch size 1, published in the
repository cybsbbb/LLM_energy_optimization_rl; mean, standard deviation, least and largest:

    configuration  service_s                 energy_j               score
    snapkv_64      13.01  3.68  6.08 26.95   2817  807 1313  5855   .188 .044 .082 .380
    snapkv_128     15.64  4.62  7.92 30.01   3185  935 1503  6177   .206 .042 .112 .371
    snapkv_256     16.06  4.69  7.48 29.10   3189  962 1464  6158   .233 .043 .144 .429
    snapkv_512     18.46  5.30  7.97 32.11   3766 1108 1547  6820   .250 .050 .147 .498
    snapkv_1024    19.18  5.03  8.87 31.76   4003 1068 1814  7008   .278 .053 .167 .448
    fullkv         20.19  7.71  8.30 48.01   5920 2337 2232 14247   .329 .066 .153 .537

There, time and energy correlate by .976 to .999 within a configuration, and time and score by .01
to .33; between two configurations, times correlate by .25 to .54, and scores by .18 to .68, more
for neighbours. The synthetic prompts correlate by .97 to .99 and .19; .42; and .61 to .24. Their
times and scores stay within the limits above; energy is time times an independent power.

Reference: Li, Huang, Yang, Venkitesh, Locatelli, Ye, Cai, Lewis, Chen: SnapKV: LLM knows what you
are looking for before generation, NeurIPS 2024.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marlserve.traces.csv_file import CsvFile

COLUMNS = ("service_s", "energy_j", "score")
CONFIGS = ("snapkv_64", "snapkv_128", "snapkv_256", "snapkv_512", "snapkv_1024", "fullkv")

_MEASURES = {"service_s": "times", "energy_j": "energies", "score": "scores"}  # columns of a file
_MEAN_SERVICE_BELOW_S = 1000.0
_POWER_RANGE_W = (1.0, 5000.0)

# Mean, standard deviation, least and largest, by configuration.
_SERVICE_S = (
    (13.01, 3.68, 6.08, 26.95),
    (15.64, 4.62, 7.92, 30.01),
    (16.06, 4.69, 7.48, 29.10),
    (18.46, 5.30, 7.97, 32.11),
    (19.18, 5.03, 8.87, 31.76),
    (20.19, 7.71, 8.30, 48.01),
)
_SCORE = (
    (0.1878, 0.0444, 0.082, 0.380),
    (0.2064, 0.0419, 0.112, 0.371),
    (0.2331, 0.0430, 0.144, 0.429),
    (0.2498, 0.0500, 0.147, 0.498),
    (0.2775, 0.0532, 0.167, 0.448),
    (0.3287, 0.0656, 0.153, 0.537),
)
_POWER_W = (  # energy over time
    (216.7, 12.3, 181.8, 246.0),
    (203.9, 11.0, 171.8, 241.6),
    (198.4, 10.5, 149.6, 234.7),
    (203.8, 7.5, 187.8, 238.9),
    (208.7, 7.6, 193.9, 239.3),
    (291.8, 7.5, 250.9, 299.2),
)
# Correlations of the logarithms: between configurations, of time, of power, and of score (for
# neighbours, and how much less with each step further); within one, of time and score.
_TIMES, _POWERS, _SCORES, _SCORES_STEP, _TIME_AND_SCORE = 0.43, 0.5, 0.66, 0.1, 0.2


@dataclass(frozen=True, eq=False, repr=False)
class KVProfile:
    """Arrays [C, R] of C configurations and R prompts, float64, read-only.

    Args:
        configs: names of the configurations, from the most compressed to the least.
        service_s: seconds from start to end of an answer.
        energy_j: joules that it takes.
        score: its quality, 0 to 1.

    Raises:
        ValueError: for arrays of another shape, or without prompts; for seconds and joules that
            are not finite and positive, and scores outside [0, 1].
    """

    configs: tuple[str, ...]
    service_s: np.ndarray
    energy_j: np.ndarray
    score: np.ndarray

    def __post_init__(self):
        for name in COLUMNS:
            values = np.array(getattr(self, name), np.float64)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
            if values.ndim != 2 or len(values) != len(self.configs) or not values.size:
                expected = f"[{len(self.configs)}, R], a row for each of {self.configs}"
                raise ValueError(f"{name} has shape {values.shape}; expected {expected}")
            if values.shape != self.service_s.shape:
                raise ValueError(f"{name} is {values.shape}, service_s {self.service_s.shape}")
            least, largest = (0.0, 1.0) if name == "score" else (np.finfo(float).tiny, np.inf)
            good = (values >= least) & (values <= largest) & np.isfinite(values)
            if not good.all():
                config, row = np.argwhere(~good)[0]
                expected = "0 to 1" if name == "score" else "a positive number"
                raise ValueError(
                    f"{name} of {self.configs[config]}, prompt {row}, is {values[config, row]}; "
                    f"expected {expected}"
                )

    def __repr__(self) -> str:
        return f"KVProfile({self.num_prompts} prompts, {self.configs})"

    def __reduce__(self):
        # Read-only flags do not survive pickling; the constructor sets them again.
        return KVProfile, (self.configs, self.service_s, self.energy_j, self.score)

    @property
    def num_prompts(self) -> int:
        """R."""
        return self.score.shape[1]

    def take(self, prompts: np.ndarray) -> "KVProfile":
        """The prompts with these indices, the same in every configuration."""
        columns = (getattr(self, name)[:, prompts] for name in COLUMNS)
        return KVProfile(self.configs, *columns)


def load(
    rng: np.random.Generator | None = None, *, path: str | Path = "", rows: int = 200
) -> KVProfile:
    """Read the folder at `path`, or draw prompts from `rng`.

    Args:
        path: with a path, `rng` and `rows` have no effect.
        rows: how many prompts to draw.

    Raises:
        ValueError: for a bad option; for a folder with another CSV, files of different length,
            other columns, and cells that are no numbers of the right range and unit, naming file,
            line, column, value and what is expected.
        OSError: if the folder or one of its files cannot be read.
    """
    if path:
        return _measured(Path(path))
    if rng is None:
        raise ValueError("rng is None; a synthetic profile is drawn from it, others have a path")
    if not (isinstance(rows, int) and rows >= 1):
        raise ValueError(f"rows is {rows!r}; expected a whole number, at least 1")
    count = len(CONFIGS)
    own = rng.standard_normal((count, rows))  # of each configuration, in the logarithm of time
    time = np.sqrt(_TIMES) * rng.standard_normal(rows) + np.sqrt(1.0 - _TIMES) * own
    power = np.sqrt(_POWERS) * rng.standard_normal(rows)
    power = power + np.sqrt(1.0 - _POWERS) * rng.standard_normal((count, rows))
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    likeness = np.where(apart == 0, 1.0, _SCORES - _SCORES_STEP * (apart - 1))
    score = np.linalg.cholesky(likeness) @ rng.standard_normal((count, rows))
    from_time = _TIME_AND_SCORE / np.sqrt(1.0 - _TIMES)
    score = from_time * own + np.sqrt(1.0 - from_time**2) * score
    service_s = _lognormal(time, _SERVICE_S)
    energy_j = service_s * _lognormal(power, _POWER_W)
    return KVProfile(CONFIGS, service_s, energy_j, _lognormal(score, _SCORE))


def write(path: str | Path, profile: KVProfile) -> None:
    """A folder with a file for each configuration, which `load` reads."""
    Path(path).mkdir(parents=True, exist_ok=True)
    for row, config in enumerate(profile.configs):
        columns = np.stack([getattr(profile, name)[row] for name in COLUMNS], 1)
        header = ",".join(_MEASURES.values())
        file = Path(path) / f"{config}.csv"
        np.savetxt(file, columns, "%.9g", ",", header=header, comments="")


def _lognormal(normal: np.ndarray, law: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """Standard normals [C, R] made lognormal, with mean, sd, least and largest by row of `law`."""
    mean, sd, least, largest = np.array(law).T[:, :, None]
    spread = np.log1p((sd / mean) ** 2)  # variance of the logarithm
    return np.clip(np.exp(np.log(mean) - spread / 2 + np.sqrt(spread) * normal), least, largest)


def _measured(folder: Path) -> KVProfile:
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        raise kind(f"{folder} is no folder; expected one with a CSV for each config")
    others = sorted({path.name for path in folder.glob("*.csv")} - {f"{c}.csv" for c in CONFIGS})
    if others:
        raise ValueError(f"{folder} holds {others}; expected no CSV but those of {CONFIGS}")
    files = [CsvFile(folder / f"{config}.csv") for config in CONFIGS]
    columns = [_measures(file) for file in files]
    for file, (times, *_) in zip(files, columns, strict=True):
        if len(times) != len(columns[0][0]):
            raise ValueError(
                f"{file.path} has {len(times)} rows, {files[0].path} {len(columns[0][0])}; "
                "expected a row for the same prompt in each"
            )
    return KVProfile(CONFIGS, *(np.stack(measure) for measure in zip(*columns, strict=True)))


def _measures(file: CsvFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, joules and scores [R] of one configuration."""
    file.expect_columns(*_MEASURES.values())
    times, energies, scores = (file.numbers(name) for name in _MEASURES.values())
    file.check("times", times > 0.0, "seconds, more than 0")
    file.check("energies", energies > 0.0, "joules, more than 0")
    file.check("scores", (scores >= 0.0) & (scores <= 1.0), "a score of 0 to 1")
    if times.mean() >= _MEAN_SERVICE_BELOW_S:
        expected = f"seconds, below {_MEAN_SERVICE_BELOW_S:g} in the mean (it is {times.mean():g})"
        raise file.error("times", int(times.argmax()), expected)
    least, largest = _POWER_RANGE_W
    power_w = energies / times
    file.check(
        "energies",
        (power_w >= least) & (power_w <= largest),
        f"joules, {least:g} to {largest:g} for each of the seconds in column times",
    )
    return times, energies, scores
