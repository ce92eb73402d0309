"""Who asks when, and how long the prompts get: turn by turn, all sessions at once."""

import math
from dataclasses import dataclass

import numpy as np

from marlserve.traces import bursts, invocations
from marlserve.traces.conversations.config import Config

_WEEK_S, _HALF_HOUR_S = 604_800.0, 1800.0
_LEAD_IN = 8.0  # times the mean length of a session: few are longer
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0  # its multiples, less whole ones, are spread evenly


@dataclass(frozen=True)
class Turns:
    """Requests in order of time, arrays [n].

    Args:
        time_s: on the clock of the trace.
        session: 0 to their number.
        application: 0 to their number, the most popular first.
        stream: of text; a prompt is the beginning of its application's system prompt and then of
            its stream. A session goes on with a new one where it drops what was said before.
        prompt_tokens, output_tokens: lengths.
    """

    time_s: np.ndarray
    session: np.ndarray
    application: np.ndarray
    stream: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray


def draw(rng: np.random.Generator, config: Config, from_s: float, duration_s: float) -> Turns:
    """What arrives in [from_s, from_s + duration_s), of sessions that began in it or before."""
    mean_gap_s = config.gap_median_s * math.exp(config.gap_sigma**2 / 2.0)
    lead_in_s = _LEAD_IN * config.mean_turns * mean_gap_s
    time_s = _starts(rng, config, from_s - lead_in_s, lead_in_s + duration_s)
    application = _popular(rng, config, len(time_s))
    turns = rng.geometric(1.0 / config.mean_turns, len(time_s))
    prompt_tokens, output_tokens = system_tokens(config)[application], np.zeros(len(time_s), int)
    stream, streams = np.arange(len(time_s)), len(time_s)
    found = []
    for turn in range(turns.max(initial=1)):
        who = np.flatnonzero(turns > turn)
        text = config.next_tokens if turn else config.first_tokens
        tokens = prompt_tokens[who] + output_tokens[who] + text.draw(rng, len(who))
        if turn:
            full = who[tokens > config.context_tokens]
            stream[full] = streams + np.arange(len(full))
            streams += len(full)
        prompt_tokens[who] = np.minimum(tokens, config.context_tokens)
        output_tokens[who] = config.output_tokens.draw(rng, len(who))
        values = (time_s, who, application, stream, prompt_tokens, output_tokens)
        found.append([value if value is who else value[who] for value in values])
        gap_s = rng.lognormal(math.log(config.gap_median_s), config.gap_sigma, len(who))
        time_s[who] += gap_s
    return _in_order(found, from_s, from_s + duration_s)


def system_tokens(config: Config) -> np.ndarray:
    """Of each application, [applications], in whole blocks."""
    tokens = config.system_tokens.at(_GOLDEN * np.arange(1, config.applications + 1) % 1.0)
    return -(-tokens // config.block_tokens) * config.block_tokens


def _starts(
    rng: np.random.Generator, config: Config, from_s: float, duration_s: float
) -> np.ndarray:
    """When sessions begin, sorted: in bursts, and if asked for by the hours of the week."""
    hours = invocations.shape(np.arange(0.0, _WEEK_S, _HALF_HOUR_S))
    peak = float(hours.max()) if config.start else 1.0
    drawn = bursts.load(
        rng,
        rate_per_s=config.rate_per_s / config.mean_turns * peak,
        duration_s=duration_s,
        burst_factor=config.burst_factor,
        burst_share=config.burst_share,
        mean_burst_s=config.mean_burst_s,
    )
    time_s = from_s + drawn.time_s
    if not config.start:
        return time_s
    return time_s[rng.random(len(time_s)) * peak < invocations.shape(time_s)]


def _popular(rng: np.random.Generator, config: Config, count: int) -> np.ndarray:
    weight = np.arange(1.0, config.applications + 1.0) ** -config.popularity
    return rng.choice(config.applications, count, p=weight / weight.sum())


def _in_order(found: list[list[np.ndarray]], from_s: float, to_s: float) -> Turns:
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    inside = np.flatnonzero((columns[0] >= from_s) & (columns[0] < to_s))
    order = inside[np.argsort(columns[0][inside], kind="stable")]
    time_s, session, application, stream, prompt_tokens, output_tokens = (
        column[order] for column in columns
    )
    session = np.unique(session, return_inverse=True)[1]
    return Turns(time_s, session, application, stream, prompt_tokens, output_tokens)
