"""Several clusters with a scheduler each: what they see, what they are paid for, what rules do."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from playing import SEEDS, advance, assert_same, play, sampled

from marlserve.envs import job_scheduling
from marlserve.envs.job_scheduling import BASELINES, FEATURES, GRID, PRESETS, Config, Measured
from marlserve.envs.job_scheduling.baselines import ACROSS_CLUSTERS
from marlserve.envs.job_scheduling.grid import Grid, features
from marlserve.envs.job_scheduling.sending import gains_s

SHORT = replace(GRID, num_jobs=60)
SETTINGS = {"clusters": (64, 32), "loads": (1.3, 0.5), "num_jobs": 30, "max_visible": 8}
NAMES = (*FEATURES, *features(3))


def played(config, policy, num_envs=8):
    """A problem that a rule played to the end, and the sums of its rewards, [B, K]."""
    baseline = BASELINES[policy]
    problem = job_scheduling.Problem(baseline.configure(config), num_envs)
    problem.reset(range(num_envs))
    act, total = baseline.policy(problem), np.zeros((num_envs, len(problem.agents)))
    while not problem.cluster.over.all():
        problem._running[:], over = True, problem.cluster.over
        chosen = act({})
        _, rewards, _, _ = problem.step(np.stack([chosen[x] for x in problem.agents], axis=1))
        total += rewards * ~over[:, None]
    return problem, total


# What PettingZoo and we promise -------------------------------------------------------------------


def test_pettingzoo(capsys):
    parallel_api_test(job_scheduling.parallel_env(**SETTINGS), num_cycles=100)
    api_test(job_scheduling.env(**SETTINGS), num_cycles=30)
    parallel_seed_test(lambda: job_scheduling.parallel_env(**SETTINGS), num_cycles=30)
    env = job_scheduling.parallel_env(**SETTINGS, render_mode="ansi")
    env.reset(seed=0)
    assert env.possible_agents == ["scheduler_0", "scheduler_1"]
    assert sum("processors busy" in line for line in env.render().splitlines()) == 2
    env.render_mode = "rgb_array"
    lone = job_scheduling.parallel_env(num_jobs=30, render_mode="rgb_array")
    lone.reset(seed=0)
    assert env.render().shape[0] == 2 * lone.render().shape[0], "one cluster below the other"


def test_copies_of_a_batch_are_single_environments():
    batch = job_scheduling.Problem(SHORT, 3)
    singles = [job_scheduling.Problem(SHORT) for _ in SEEDS]
    batch.reset(SEEDS)
    for single, seed in zip(singles, SEEDS, strict=True):
        single.reset([seed])
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = sampled(batch, rng)
        shown = *advance(batch, actions), batch.state(), batch.action_masks()
        for b, single in enumerate(singles):
            alone = *advance(single, actions[b : b + 1]), single.state(), single.action_masks()
            assert_same([x[b] for x in shown], [x[0] for x in alone])
    assert_same(play(batch, 9, SEEDS), play(job_scheduling.Problem(SHORT, 3), 9, SEEDS))


def test_what_is_seen_is_in_its_space_and_follows_from_plain_numbers():
    problem, rng = job_scheduling.Problem(SHORT, 2), np.random.default_rng(1)
    problem.reset([0, 1])
    while not problem.cluster.over.any():
        told = problem.measured()
        logged = json.loads(json.dumps({x: to_lists(y) for x, y in told._asdict().items()}))
        arrays = {x: np.array(y) for x, y in logged.items() if x != "grid"}
        known = Grid(**{x: np.array(y) for x, y in logged["grid"].items()})
        seen = problem.observations()
        np.testing.assert_array_equal(
            job_scheduling.observe(Measured(**arrays, grid=known), SHORT), seen
        )
        assert problem.observation_space.contains(seen[0, 0])
        assert all(problem.observation_space.contains(x) for x in seen.reshape(-1, *seen.shape[2:]))
        assert all(problem.state_space.contains(x) for x in problem.state())
        problem.step(sampled(problem, rng))


def to_lists(value):
    if isinstance(value, tuple):
        return {name: x.tolist() for name, x in value._asdict().items()}
    return value.tolist()


def test_presets_are_played():
    assert PRESETS["grid"] is GRID
    for change, message in (
        ({"clusters": (4,)}, r"clusters is \(4,\); allowed is a tuple of at most 16 sizes"),
        ({"loads": (1.0,)}, r"loads is \(1.0,\); allowed is \(\), or of each cluster"),
        ({"transfer_s": -1.0}, "transfer_s is -1.0"),
        ({"max_migrations": 16}, "max_migrations is 16"),
        ({"action": "inspect"}, "action is 'inspect'; allowed is 'choose' with clusters="),
        ({"trace": "file", "trace_path": "x"}, "trace is 'file'; allowed is 'lublin' with"),
        ({"reward": "gain"}, "reward is 'gain'; allowed is any but"),
        ({"reward_scope": "all"}, "reward_scope is 'all'"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(GRID, **change)
    assert Config(clusters=[64, 32]).clusters == (64, 32), "as JSON has it"


# What they see and do -----------------------------------------------------------------------------


def test_one_cluster_is_the_problem_of_one_scheduler():
    """The same jobs start at the same times; rewards and metrics are the same to the last bit."""
    one = Config(num_jobs=80, max_visible=16, num_processors=128, offered_load=1.2)
    several = replace(one, clusters=(128,))
    alone, grid = (job_scheduling.Problem(config, 4) for config in (one, several))
    assert (alone.agents, grid.agents) == (("scheduler",), ("scheduler_0",))
    rng = np.random.default_rng(0)
    seen = [alone.reset(range(4)), grid.reset(range(4))]
    while not alone.cluster.over.all():
        for problem in (alone, grid):
            problem._running[:] = True
        np.testing.assert_array_equal(seen[0], seen[1][..., : len(FEATURES)])
        np.testing.assert_array_equal(alone.action_masks(), grid.action_masks())
        actions = sampled(alone, rng)
        shown = [problem.step(actions) for problem in (alone, grid)]
        seen = [x[0] for x in shown]
        assert_same(list(shown[0][1:]), list(shown[1][1:]))
        np.testing.assert_array_equal(alone.state(), grid.state())
    found = grid.metrics()
    assert (found.pop("migrations_per_job") == 0).all()
    for name, values in alone.metrics().items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_masks_say_who_decides_and_where_jobs_fit():
    problem, rng = job_scheduling.Problem(SHORT, 4), np.random.default_rng(0)
    problem.reset(range(4))
    slots, kept = SHORT.max_visible, 0
    while not problem.cluster.over.any():
        seen, mask = problem.measured(), problem.action_masks()[:, :, 0]
        assert seen.grid.asked.any(axis=1).all(), "or the step was for nobody"
        may = mask.reshape(4, 3, 3, slots)
        assert (mask[~seen.grid.asked].argmax(axis=-1) == 0).all()
        assert (mask[~seen.grid.asked].sum(axis=-1) == 1).all()
        assert (may[:, :, 0].sum(axis=-1)[seen.grid.keeps] == 1).all()
        fits = seen.processors[:, :, None] <= seen.grid.num_processors[..., None]
        alone = seen.grid.from_elsewhere[:, :, None]
        assert not (may & ~fits)[:, :, 1:].any()
        assert not (may & alone)[:, :, 1:].any(), "at most once"
        free = seen.grid.asked & ~seen.grid.keeps
        waits = np.arange(slots) < seen.shown_jobs[..., None]
        goes = (waits[:, :, None] & fits & ~alone)[:, :, 1:]
        np.testing.assert_array_equal(may[:, :, 1:][free], goes[free])
        kept += (seen.grid.asked & seen.grid.keeps).sum()
        problem.step(sampled(problem, rng))
    assert kept > 5, "or who keeps a cluster was never asked"


def test_masked_actions_stand_for_the_first_that_is_not():
    one, other = job_scheduling.Problem(SHORT, 3), job_scheduling.Problem(SHORT, 3)
    rng = np.random.default_rng(2)
    for problem in (one, other):
        problem.reset(SEEDS)
    for _ in range(50):
        actions, mask = sampled(one, rng), one.action_masks()[:, :, 0]
        good = np.take_along_axis(mask, actions[..., None], axis=-1)[..., 0]
        shown = advance(one, actions), advance(other, np.where(good, actions, mask.argmax(axis=-1)))
        assert_same(*map(list, shown))


def test_each_sees_the_clusters_from_its_own_place():
    problem = job_scheduling.Problem(GRID, 1)
    first = problem.reset([3])[0].reshape(3, 3, 16, -1)  # [agents, K, V, F]
    row = {name: first[..., i] for i, name in enumerate(NAMES)}
    shown = row["waits"] > 0
    size = np.array([128, 128, 64])[(np.arange(3)[:, None] + np.arange(3)) % 3] / 320  # [agents, K]
    for name, expected in (("cluster_size", size), ("goes", np.ones((3, 1)) * [0, 1, 1])):
        expected = np.broadcast_to(expected[..., None], shown.shape)
        np.testing.assert_allclose(row[name][shown], expected[shown], rtol=1e-6)
    own = np.broadcast_to(np.array([0.0, 0.5, 1.0])[:, None, None], shown.shape)
    np.testing.assert_array_equal(row["cluster"][shown], own[shown])
    np.testing.assert_array_equal(shown[:, 0], shown[:, 1])
    assert (first[~shown] == 0).all()


def test_rows_are_the_actions():
    """What may be done is in the row of the action, with what rules would gain by it."""
    problem, rng = job_scheduling.Problem(SHORT, 3), np.random.default_rng(0)
    problem.reset(range(3))
    sent = 0
    while not problem.cluster.over.any():
        seen, rows = problem.measured(), problem.observations()
        mask = problem.action_masks()[:, :, 0]
        shown = rows[..., NAMES.index("waits")] > 0
        np.testing.assert_array_equal(rows[..., NAMES.index("may")] > 0, mask & shown)
        gain_s = gains_s(seen, seen.grid, SHORT.transfer_s).reshape(mask.shape)
        goes, sooner = np.isfinite(gain_s), rows[..., NAMES.index("sooner_1200")].astype(float)
        expected = 0.5 + 0.5 * gain_s[goes] / (abs(gain_s[goes]) + 1200.0)
        np.testing.assert_allclose(sooner[goes], expected, atol=1e-6)
        work = seen.requested_s * seen.processors
        order = rows[..., NAMES.index("order")].reshape(3, 3, 3, -1)[:, :, 0]
        most = np.where(shown.reshape(3, 3, 3, -1)[:, :, 0], work, 0.0).max(axis=-1)
        largest = np.take_along_axis(work, order.argmax(axis=-1)[..., None], axis=-1)[..., 0]
        some = order.max(axis=-1) > 0
        np.testing.assert_array_equal(largest[some], most[some])
        sent += goes.sum()
        problem.step(sampled(problem, rng))
    assert sent > 50


# Rewards and rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "metric", "scale", "offset"),
    [
        ("bounded_slowdown", "mean_bounded_slowdown", -1, 1),
        ("wait", "mean_wait_s", -1 / 3600, 0),
        ("turnaround", "mean_turnaround_s", -1 / 3600, 0),
        ("utilisation", "utilisation", 1, 0),
        ("source", "mean_bounded_slowdown", -1, 0),
    ],
)
def test_rewards_add_up_to_metrics(reward, metric, scale, offset):
    """Those of the team are the metric, for each; own ones are it together, if they are sums."""
    team, of_team = played(replace(SHORT, reward=reward), "sjf_reallocating")
    assert team.metrics()["migrations_per_job"].mean() > 0.1
    expected = scale * team.metrics()[metric] + offset
    for k in range(3):
        np.testing.assert_allclose(of_team[:, k], expected, rtol=1e-4, atol=1e-3)
    config = replace(SHORT, reward=reward, reward_scope="agent")
    own = played(config, "sjf_reallocating")[1]
    own = own[:, 0] if reward in ("utilisation", "source") else own.sum(axis=1)
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_rules_that_send_jobs_are_worth_it_where_loads_differ():
    names = ("backfill", "sender_initiated", "reallocating", "by_length")
    ended = {name: played(GRID, f"area_{name}", num_envs=24)[0] for name in names}
    found = {name: {x: y.mean() for x, y in end.metrics().items()} for name, end in ended.items()}
    assert found["backfill"]["migrations_per_job"] == 0.0
    for name in ("sender_initiated", "reallocating"):
        assert 0.1 < found[name]["migrations_per_job"] <= 1.0
        assert found[name]["mean_wait_s"] < 0.8 * found["backfill"]["mean_wait_s"]
        assert found[name]["utilisation"] > found["backfill"]["utilisation"] + 0.05
    # By length, the smallest cluster is kept for short jobs.
    smallest = ended["by_length"].cluster.jobs[2::3]
    ran = smallest["start_s"] >= 0.0
    assert ran.sum() > 500
    assert (smallest["requested_s"][ran] <= 600.0).all()
    slow, fast = (found[x]["mean_bounded_slowdown"] for x in ("reallocating", "by_length"))
    assert fast < 0.5 * slow


@pytest.mark.parametrize("name", ACROSS_CLUSTERS)
def test_rules_never_choose_what_is_masked(name):
    baseline = BASELINES[name]
    problem = job_scheduling.Problem(baseline.configure(SHORT), 4)
    problem.reset(range(4))
    act = baseline.policy(problem)
    while not problem.cluster.over.any():
        chosen = act({})
        actions = np.stack([chosen[x] for x in problem.agents], axis=1)
        mask = problem.action_masks()[:, :, 0]
        assert np.take_along_axis(mask, actions[..., None], axis=-1).all()
        problem.step(actions)


def test_estimates_by_hand():
    """Cluster 0 has 800 s to do, 100 s of it the job itself; 1 can take the first at once."""
    seen = played(SHORT, "fcfs", num_envs=1)[0].measured()
    known = Grid(
        cluster=np.array([0]),
        asked=np.array([True]),
        keeps=np.array([False]),
        from_elsewhere=np.array([[False, False]]),
        may=np.ones((1, 3, 2), bool),
        num_processors=np.array([[8, 8, 4]]),
        free_processors=np.array([[0, 4, 4]]),
        waiting_jobs=np.array([[2, 0, 1]]),
        backlog_s=np.array([[800.0, 50.0, 1000.0]]),
    )
    seen = seen._replace(
        processors=np.array([[4.0, 8.0]]),
        requested_s=np.array([[200.0, 100.0]]),
        num_processors=np.array([8.0]),
        grid=known,
    )
    gain_s = gains_s(seen, known, 60.0)[0]
    np.testing.assert_array_equal(gain_s[1], [700 - 0 - 60, 700 - 50 - 60])
    np.testing.assert_array_equal(gain_s[2], [700 - 1000 - 60] * 2)
    assert (gain_s[0] == -np.inf).all()
