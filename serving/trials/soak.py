"""Whether the gateway's memory is flat, and nothing is lost uncounted, over many minutes.

    python -m marlserve.serving.trials.soak --minutes 10

wrk asks for completions of ever new prompts over a few connections, about half of what one core
carries; HAProxy answers for three engines. All is logged. At the end the log has an outcome for
every decision, or the metrics say what was dropped. How much is remembered of prompts is bounded,
but grows until then: `--cache-tokens` is small here, so that it is full after a minute.
"""

import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import tyro

from marlserve.serving.service.load import cpu_s, wrk
from marlserve.serving.trials.others import Others
from marlserve.serving.trials.overhead import ANSWER, ENGINES
from marlserve.serving.trials.shared_prefixes import gateway

_SCRIPT = """number = 0
request = function()
  number = number + 1
  local prompt = "this is prompt " .. number .. ", and no other one is like it"
  local body = '{"model": "tiny", "prompt": "' .. prompt .. '", "max_tokens": 1}'
  return wrk.format("POST", nil, {["content-type"] = "application/json"}, body)
end
"""


def memory_mib(process: int) -> float:
    """Of a process, what is its own."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(x) for x in re.findall(r"Private_\w+:\s+(\d+) kB", text)) / 1024


def counted(url: str, name: str) -> float:
    """The sum of a metric."""
    text = urlopen(f"{url}/metrics").read().decode()
    found = re.findall(rf"^marlserve_gateway_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def main(minutes: float = 10.0, connections: int = 4, others: Path = Path("build/others")) -> None:
    """Print memory, minute by minute, and what came of all requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script, log = folder / "ask.lua", folder / "experience.sqlite"
        script.write_text(_SCRIPT)
        with (
            Others(others, folder).answering(ENGINES, ANSWER) as urls,
            gateway(
                *(urls, "--cache-tokens", "100000", "--log", str(log)),
                output=folder / "gateway.log",
            ) as (url, started),
        ):
            asked: list[int] = []

            def ask() -> None:
                said = wrk(f"{url}/v1/completions", script, connections, 60.0 * minutes)
                asked.append(said.requests)

            thread = threading.Thread(target=ask)
            thread.start()
            print("| minute | MiB | requests | CPU s |\n| ---: | ---: | ---: | ---: |")
            for minute in range(round(minutes)):
                time.sleep(60.0)
                numbers = (memory_mib(started.pid), counted(url, "outcomes_total"))
                print(
                    f"| {minute + 1} | {numbers[0]:.1f} | {numbers[1]:,.0f} | "
                    f"{cpu_s(started.pid):.0f} |",
                    flush=True,
                )
            thread.join()
            time.sleep(2.0)
            names = ("outcomes_total", "log_written_total", "log_dropped_total", "retries_total")
            told = {each: counted(url, each) for each in names}
            print(f"\n{asked[0]:,} answers;", ", ".join(f"{k} {v:,.0f}" for k, v in told.items()))


if __name__ == "__main__":
    try:
        tyro.cli(main, description=__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
