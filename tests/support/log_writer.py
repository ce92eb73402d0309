"""A process that logs an event every millisecond, and tells when it gave each to the log.

python log_writer.py LOG FLUSH_S
"""

import sys
import time

from marlserve.serving.experience.events import DECISION, Event
from marlserve.serving.experience.log import ExperienceLog

if __name__ == "__main__":
    log = ExperienceLog(sys.argv[1], flush_s=float(sys.argv[2]))
    number = 0
    while True:
        log.put(Event(str(number), DECISION, {"number": number}))
        print(number, time.monotonic(), flush=True)
        number += 1
        time.sleep(0.001)
