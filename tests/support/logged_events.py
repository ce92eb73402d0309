"""Events to log, and which of them a log has."""

from pathlib import Path

from marlserve.serving.experience.events import DECISION, OUTCOME, Event, opened


def decided(number: int) -> Event:
    return Event(f"d-{number}", DECISION, {"action": number % 3, "propensity": 0.5})


def ended(number: int, reward: float = 1.0) -> Event:
    return Event(f"d-{number}", OUTCOME, {"reward": reward, "success": True})


def identities(path: Path) -> list[str]:
    connection = opened(path)
    try:
        return [row[0] for row in connection.execute("SELECT id FROM events ORDER BY seq")]
    finally:
        connection.close()
