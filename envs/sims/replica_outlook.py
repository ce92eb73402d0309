"""What becomes of the requests of a replica if no more come: an estimate that costs a microsecond.

`outlook` plays the rest of one replica as `replica_kernel` does, with two differences. Blocks are
not looked at: the tokens known are what fills the cache, and of a prompt in line as much is there
as was when it was submitted. And between two events decoding takes the sum of its passes in closed
form, with neither the bound on the context nor the least time of a pass. Where the cache is large
enough the estimate is exact but for that.
"""

import numpy as np
from numba import njit

from marlserve.envs.sims.replica_arrays import DECODE_RUN, IDLE, NONE, PASS
from marlserve.envs.sims.replica_timing import TABLE, in_table, pass_ns


@njit(cache=True)
def _run_ns(timing, slowness, passes, sequences, context):
    """That many passes of decoding alone, whose context grows by `sequences` each."""
    n, m = float(passes), float(sequences)
    ones, squares = n * (n - 1) / 2, (n - 1) * n * (2 * n - 1) / 6
    if timing[TABLE] > 0:
        ms = n * in_table(timing, m) + timing[6] * (n * context + m * ones)
        return 1e6 * slowness * ms
    x0, step = context / timing[10], m / timing[10]
    ms = n * (timing[5] + timing[8] * m) + timing[6] * (n * x0 + step * ones)
    ms += timing[7] * (n * x0 * x0 + 2 * x0 * step * ones + step * step * squares)
    return 1e6 * slowness * ms


@njit(cache=True)
def outlook(
    now_ns, e, rules, timing, requests, running, more_prompt=0, more_there=0, more_output=0
):
    """Sums over the requests that are not over, and one more that joins them now.

    Args:
        now_ns: the time to which the replica was advanced.
        more_prompt: its prompt tokens, 0: there is none.
        more_there: those of them that are in the cache.
        more_output: its output tokens.

    Returns:
        In nanoseconds since the episode began: the sum of the times of first tokens, over those
        that wait for it; the sum of the times of last tokens; and both times of the one more.
    """
    most = e.running + e.waiting + 1
    rest = np.empty(most, np.int64)  # of those to be computed, in order: tokens, ...
    known, left, told = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    # Of those that decode, the one to end last in front: the pass after which it ends, and tokens.
    ends, tokens, mark = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.bool_),
    )
    now = float(max(e.clock_ns, now_ns) if e.phase == IDLE else e.pass_end_ns)
    in_run = e.run_left > 0 or e.run_done > 0 or e.phase == DECODE_RUN
    done = e.run_done + (e.phase == DECODE_RUN)
    queued = decoding = context = 0
    sum_first = sum_last = more_first = more_last = 0.0
    for i in range(e.running):
        request = requests[running[i]]
        generated = request.generated + (done if in_run else 0)
        all_known = request.prompt_tokens + generated
        decodes = in_run or (generated > 0 and request.computed == all_known - 1)
        if not in_run and e.phase == PASS and request.computed == all_known:
            decodes, generated, all_known = True, generated + 1, all_known + 1
            if generated == 1:
                sum_first += now
        remaining = request.output_tokens - generated
        if decodes and remaining <= 0:
            sum_last += now
        elif decodes:
            decoding = _insert(
                *(ends, tokens, mark, decoding, remaining, all_known + remaining, False)
            )
            context += all_known
        else:
            rest[queued], known[queued] = all_known - request.computed, all_known
            left[queued], told[queued] = remaining, generated > 0
            queued += 1
    partly = queued
    q = e.first
    for _ in range(e.waiting):
        request = requests[q]
        all_known = request.prompt_tokens + request.generated
        rest[queued], known[queued] = all_known - request.expected_hits, all_known
        left[queued] = request.output_tokens - request.generated
        told[queued] = request.generated > 0
        queued += 1
        q = request.next
    if more_prompt > 0:
        rest[queued], known[queued] = more_prompt - more_there, more_prompt
        left[queued], told[queued] = more_output, False
        queued += 1
    more = queued - 1 if more_prompt > 0 else NONE
    room = rules.num_blocks * rules.block_tokens
    filled = context
    for i in range(partly):
        filled += known[i]
    first, passes = 0, 0
    while first < queued or decoding > 0:
        budget, new, prompts_done = rules.max_num_batched_tokens - decoding, 0, first
        i, used = first, 0
        while i < queued and budget > 0:
            if i >= partly:  # not admitted yet
                alone = decoding == 0 and i == first
                full = decoding + i - first >= rules.max_num_seqs or filled + known[i] > room
                if full and not alone:
                    break
                filled += known[i]
                partly = i + 1
            take = min(rest[i], budget)
            rest[i] -= take
            budget -= take
            new += take
            used += 1
            if rest[i] > 0:
                break
            prompts_done = i + 1
            i += 1
        if used == 0:
            n = ends[decoding - 1] - passes
            now += _run_ns(timing, e.slowness, n, decoding, context)
            passes += n
            context += n * decoding
            filled += n * decoding
        else:
            now += pass_ns(timing, e.slowness, new, 0, decoding, context)
            passes += 1
            context += decoding
            filled += decoding
        while decoding > 0 and ends[decoding - 1] <= passes:
            decoding -= 1
            context -= tokens[decoding]
            filled -= tokens[decoding]
            sum_last += now
            if mark[decoding]:
                more_last = now
        for i in range(first, prompts_done):
            if not told[i]:
                sum_first += now
                if i == more:
                    more_first = now
            if left[i] <= 1:
                sum_last += now
                filled -= known[i]
                if i == more:
                    more_last = now
                continue
            decoding = _insert(
                *(ends, tokens, mark, decoding, passes + left[i] - 1, known[i] + left[i], i == more)
            )
            context += known[i] + 1
            filled += 1
        first = prompts_done
    return sum_first, sum_last, more_first, more_last


@njit(cache=True)
def _insert(ends, tokens, mark, count, end, known, marked):
    """Keep those that decode sorted by their ends, the earliest last, with what they will have
    known by then; returns how many."""
    i = count
    while i > 0 and ends[i - 1] < end:
        ends[i], tokens[i], mark[i] = ends[i - 1], tokens[i - 1], mark[i - 1]
        i -= 1
    ends[i], tokens[i], mark[i] = end, known, marked
    return count + 1
