"""Joules that a device has drawn: as it counts them, or seconds times the watts that it is told.

    meter = energy.meter("cuda:0")     # NVML's counter of the card
    before_j = meter.joules()

A card's counter, NVML's of all energy since the driver was loaded, is there since Volta; it moves
ten to fifty times a second, so what takes less than half a second is to be measured several times
over. For a CPU it is RAPL, as /sys/class/powercap tells it: the packages, whatever runs on them,
without the memory. Both count idle power as well.

Reference: Yang, Adamek, Armour: Part-time power measurements: nvidia-smi's lack of attention, 2023,
https://arxiv.org/abs/2312.02741
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_RAPL = Path("/sys/class/powercap")
_WATTS = (1.0, 5000.0)


@dataclass(frozen=True)
class Meter:
    """A counter of joules.

    Attributes:
        source: where they are from.
        joules: so far; only differences mean something.
    """

    source: str
    joules: Callable[[], float]


def meter(device: str, watts: float = 0.0) -> Meter:
    """The meter of a device.

    Args:
        device: that of torch, as "cuda:0" or "cpu".
        watts: 1 to 5,000, drawn all the time; 0: let the device count.

    Raises:
        ValueError: for other watts; if they are 0 and the device counts nothing that can be read.
        ImportError: for a card, without the library nvidia-ml-py.
    """
    if watts:
        if not _WATTS[0] <= watts <= _WATTS[1]:
            raise ValueError(f"watts is {watts}; allowed is 1 to 5000, or 0: let the device count")
        return Meter(f"{watts:g} W, as told", lambda: watts * time.perf_counter())
    place = torch.device(device)
    return _card(place.index or 0) if place.type == "cuda" else _packages(_RAPL)


def _card(index: int) -> Meter:
    """NVML's counter."""
    try:
        import pynvml
    except ImportError as error:
        raise ImportError(
            f'NVML is read by nvidia-ml-py; pip install "marlserve[nvml]" ({error})'
        ) from None
    pynvml.nvmlInit()
    # By its number on the bus, as CUDA_VISIBLE_DEVICES counts otherwise than NVML.
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
    card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except pynvml.NVMLError as error:
        raise ValueError(
            f"watts is 0, but the card counts no energy ({error}); give --watts"
        ) from None

    def joules() -> float:
        torch.cuda.synchronize(index)
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1e3

    return Meter("NVML", joules)


def _packages(folder: Path) -> Meter:
    """RAPL's counters of all packages, which begin again at 0 from time to time."""
    files = sorted(folder.glob("intel-rapl:?/energy_uj"))
    try:
        ranges = [int(file.with_name("max_energy_range_uj").read_text()) for file in files]
        last = [int(file.read_text()) for file in files]
    except OSError as error:
        raise ValueError(f"watts is 0, and RAPL cannot be read ({error}); give --watts") from None
    if not files:
        raise ValueError(f"watts is 0, and there is no RAPL in {folder}; give --watts")
    total = [0]

    def joules() -> float:
        for i, file in enumerate(files):
            now = int(file.read_text())
            total[0] += (now - last[i]) % (ranges[i] + 1)
            last[i] = now
        return total[0] / 1e6

    return Meter("RAPL", joules)
