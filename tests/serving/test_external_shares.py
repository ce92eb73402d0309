"""A program that waits begins a fragment only if there is room for it, and by the newest policy."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from external_cases import (
    agent_of,
    contract,
    fronted,
    inlet_of,
    play,
    policy,
    until,
)
from gymnasium.spaces import Box, Discrete

from marlserve.serving.trainer.shares import KEPT_S, Shares
from marlserve.serving.trainer.speed.programs import Running
from marlserve.serving.wire.seats import Seat

SEEN = np.zeros(4, np.float32)
QUEUE = 40  # half a batch


def held_to(**more):
    return contract(most_staleness=2, on_policy=True, capacity_steps=QUEUE, **more)


def queued(front, steps):
    until(lambda: front.intakes["policy"].queued_steps >= steps)


@pytest.fixture
def learner(front):
    inlet = inlet_of(front, held_to())
    inlet.publish(policy(), 0.0)
    return inlet


def waiting(front, **settings):
    agent = agent_of(front, when_full="wait", **settings)
    assert agent.wait_for_policy(60)
    return agent


def test_who_sends_shares_the_queue_and_who_is_silent_for_a_minute_does_not():
    now_s = 0.0
    shares = Shares(held_to(), lambda: now_s)
    assert shares.steps == QUEUE
    for session in range(4):
        now_s += 1.0
        shares.note(session)
        assert shares.steps == QUEUE // (session + 1)
    now_s = KEPT_S + 2.5  # the first two are gone
    shares.note(3)
    assert shares.steps == QUEUE // 2
    for session in range(1_000):
        shares.note(session)
    assert shares.steps == 1
    now_s *= 3.0
    assert shares.steps == QUEUE


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_no_more_is_made_than_there_is_room_for(front, learner, clients):
    agents = [waiting(front, client_id=f"client-{i}", most_steps=30) for i in range(clients)]
    until(lambda: all(agent.outbox.room(1) <= QUEUE // clients for agent in agents))
    threads = [threading.Thread(target=play, args=(agent, 60)) for agent in agents]
    for thread in threads:
        thread.start()
    made = lambda: sum(agent.books.last_id for agent in agents)  # noqa: E731
    queued(front, QUEUE - 4)
    time.sleep(0.3)
    assert made() <= 2 * QUEUE
    got = 0
    while got < clients * 300:
        got += sum(map(len, learner.take(min(QUEUE, clients * 300 - got), 60.0)))
        assert made() <= got + 2 * QUEUE
    for thread, agent in zip(threads, agents, strict=True):
        thread.join()
        agent.close()
    assert sum(agent.outbox.lost.total() for agent in agents) == 0
    assert front.intakes["policy"].dropped.total() == 0


def test_a_client_with_less_room_of_its_own_has_a_smaller_share(front, learner):
    with waiting(front, most_steps=5, buffer_steps=10) as agent:
        assert agent.outbox.room(1) == 10


def test_what_begins_after_a_wait_is_played_by_the_newest_policy(front, learner):
    agent, versions = waiting(front), []

    def live():
        for _ in range(40):
            for _ in range(5):
                decision = agent.act(SEEN)
                decision.reward(1.0)
                versions.append(decision.version)
            agent.end(terminated=True)

    thread = threading.Thread(target=live)
    thread.start()
    queued(front, QUEUE)
    until(lambda: agent.outbox._beginners)  # it stands still
    made = len(versions)
    learner.publish(policy(), 0.0)
    until(lambda: agent.link.newest.version == 2)
    assert len(versions) == made
    got = []
    while sum(map(len, got)) < 200:
        got += learner.take(QUEUE, 60.0)
    thread.join()
    agent.close()
    assert versions == [1] * made + [2] * (200 - made)
    assert [x.versions[0] for x in got] == [versions[5 * i] for i in range(40)]


def test_a_half_fragment_of_one_does_not_keep_the_learner_from_the_steps_of_another(front, learner):
    with waiting(front, client_id="slow") as slow, waiting(front, client_id="fast") as fast:
        slow.act(SEEN)
        thread = threading.Thread(target=play, args=(fast, 40))
        thread.start()
        got = 0
        while got < 200:
            got += sum(map(len, learner.take(min(2 * QUEUE, 200 - got), 60.0)))
        thread.join()


def test_more_episodes_side_by_side_than_there_is_room_for_go_on_in_one_thread(front, learner):
    with waiting(front) as agent:
        episodes = [agent.episode(f"agent-{i}") for i in range(2 * QUEUE)]
        made = threading.Thread(target=_in_turns, args=(episodes, 5))
        made.start()
        got = []
        while (missing := len(episodes) * 5 - sum(map(len, got))) > 0:
            got += learner.take(min(QUEUE, missing), 60.0)
        made.join()
    lengths = [len(steps) for steps in got if steps.episode == got[-1].episode]
    assert lengths == [1] * 5  # there are more episodes than steps


def _in_turns(episodes, steps):
    for _ in range(steps):
        for episode in episodes:
            episode.act(SEEN).reward(1.0)
    for episode in episodes:
        episode.end(terminated=True)


def test_what_waits_for_rewards_is_not_waited_for(front, learner):
    """The rewards of an episode are told in the midst of the next one."""
    with waiting(front, reward_deadline_s=60.0, send_frequency=3) as agent:
        untold = []
        for _ in range(3 * QUEUE // 5):
            for _ in range(5):
                decision = agent.act(SEEN)
                if len(untold) == 5:
                    untold.pop(0).reward(1.0)
                untold.append(decision)
            agent.end(terminated=True)
            learner.take(QUEUE, 0.0)
        for decision in untold:
            assert decision.reward(1.0)
    assert agent.outbox.defaulted == agent.outbox.lost.total() == 0


@pytest.mark.slow
def test_programs_that_never_pause_are_learned_from_whole():
    """16 clients in 4 processes, and a learner that takes its time."""
    seat = Seat(Box(-np.inf, np.inf, (4,), np.float32), Discrete(2))
    with fronted() as front:
        learner = inlet_of(front, held_to(seats={"*": seat}))
        learner.publish(policy((0.0, 1.0)), 0.0)
        given = {"address": front.address, "policy": "policy", "evaluator": "numpy"}
        given |= {"when_full": "wait", "count": 4}
        programs = [Running("held", seed=4 * i, **given) for i in range(4)]
        for program in programs:
            program.wait()
        of_each = Counter()
        for _ in range(30):
            got = learner.take(2 * QUEUE, 60.0)
            assert all((steps.only.rewards == 1.0).all() for steps in got)
            for steps in got:
                of_each[steps.session] += len(steps)
            time.sleep(0.05)
            learner.publish(policy((0.0, 1.0)), 0.0)
        intake = front.intakes["policy"]
        assert intake.taken >= 30 * 2 * QUEUE
        reports = []
        for program in programs:
            program.stop()
        ending = threading.Thread(target=lambda: reports.extend(x.report() for x in programs))
        ending.start()
        while ending.is_alive() or intake.queued_steps:
            learner.take(2 * QUEUE, 0.1)
    made, sent = (sum(report[of] for report in reports) for of in ("steps", "sent"))
    lost = sum((Counter(report["lost"]) for report in reports), Counter())
    assert made == sent + lost.total()
    assert intake.taken > 0.9 * made
    assert len(of_each) == 16
    assert min(of_each.values()) > 0.5 * of_each.total() / 16  # they have equal shares
    assert lost.keys() <= {"stale", "unsent"}  # of programs that the others left no processor
