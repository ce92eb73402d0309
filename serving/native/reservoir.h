/* Reservoirs: what a data plane remembers of the flows it has seen, in constant memory.
 *
 * Header only, C11. The same samples and statistics as envs/sims/reservoir.py, from the same random
 * numbers, and one rule more:
 *
 *     LB_OVERWRITE    a full reservoir replaces a random slot by every new sample: it forgets
 *     LB_ALGORITHM_R  a uniform sample of the whole stream (Vitter 1985)
 *     LB_ALGORITHM_L  the same in less time: it draws how many samples to pass over (Li 1994)
 *
 *     lb_reservoir r;
 *     lb_reservoir_init(&r, LB_OVERWRITE, 7);
 *     lb_reservoir_add(&r, 0.021f, now_s);
 *     float statistics[5];
 *     lb_reservoir_statistics(&r, now_s, statistics);
 *
 * The five, in s over n samples x of age a: mean; 90th percentile, by linear interpolation; population
 * standard deviation; sum of 0.9^a x, over n; 90th percentile of 0.9^a x. All 0 while it is empty, and
 * never NaN: what is old has weight 0 in the end, and nothing is divided by weights.
 */
#ifndef LB_RESERVOIR_H
#define LB_RESERVOIR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LB_RESERVOIR_BITS 7
#define LB_RESERVOIR_SIZE (1 << LB_RESERVOIR_BITS)
#define LB_LOG_DISCOUNT -0.10536051565782628 /* log 0.9 */

enum { LB_OVERWRITE, LB_ALGORITHM_R, LB_ALGORITHM_L };
enum { LB_MEAN, LB_P90, LB_STD, LB_DISCOUNTED_MEAN, LB_DISCOUNTED_P90 };

typedef struct {
    float value[LB_RESERVOIR_SIZE];
    double time_s[LB_RESERVOIR_SIZE];
    uint64_t seen, random, next; /* next: the sample that LB_ALGORITHM_L takes */
    double least;                /* of the keys of its samples, as that algorithm has it */
    int rule;
} lb_reservoir;

/* A uniform number of 64 bits (splitmix64, Steele, Lea and Flood 2014). */
static inline uint64_t lb_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* In [0, 1). By signed numbers, which x86 converts at once. */
static inline double lb_uniform(uint64_t *state) { return (double)(int64_t)(lb_random(state) >> 11) * (1.0 / 9007199254740992.0); }

/* The first bits of a number, which are lb_uniform times the size. */
static inline uint64_t lb_random_slot(uint64_t *state) { return lb_random(state) >> (64 - LB_RESERVOIR_BITS); }

/* How many samples are passed over until the next one is taken. */
static inline void lb_reservoir_skip(lb_reservoir *r) {
    double one = 1.0 - lb_uniform(&r->random), other = 1.0 - lb_uniform(&r->random); /* in (0, 1] */
    r->least *= exp(log(one) / LB_RESERVOIR_SIZE);
    double skipped = floor(log(other) / log1p(-r->least));
    r->next = skipped < 1e18 ? r->next + (uint64_t)skipped + 1 : UINT64_MAX;
}

static inline void lb_reservoir_init(lb_reservoir *r, int rule, uint64_t seed) {
    memset(r, 0, sizeof *r);
    r->rule = rule, r->random = seed, r->least = 1.0, r->next = LB_RESERVOIR_SIZE - 1;
    if (rule == LB_ALGORITHM_L) lb_reservoir_skip(r);
}

static inline void lb_reservoir_add(lb_reservoir *r, float value, double time_s) {
    uint64_t slot = r->seen++;
    if (slot >= LB_RESERVOIR_SIZE) {
        if (r->rule == LB_OVERWRITE) {
            slot = lb_random_slot(&r->random);
        } else if (r->rule == LB_ALGORITHM_R) {
            slot = (uint64_t)(int64_t)(lb_uniform(&r->random) * (double)(int64_t)r->seen);
            if (slot >= LB_RESERVOIR_SIZE) return;
        } else {
            if (slot != r->next) return;
            slot = lb_random_slot(&r->random);
            lb_reservoir_skip(r);
        }
    }
    r->value[slot] = value, r->time_s[slot] = time_s;
}

/* Put the k-th smallest in its place, smaller ones before it (Hoare's quickselect). */
static inline void lb_select(float *x, int n, int k) {
    for (int low = 0, high = n - 1; low < high;) {
        float pivot = x[k];
        int i = low, j = high;
        while (i <= j) {
            while (x[i] < pivot) i++;
            while (pivot < x[j]) j--;
            if (i <= j) {
                float other = x[i];
                x[i++] = x[j], x[j--] = other;
            }
        }
        if (j < k) low = i;
        if (k < i) high = j;
    }
}

static inline float lb_percentile_90(float *x, int n) {
    double rank = 0.9 * (n - 1);
    int k = (int)rank;
    lb_select(x, n, k);
    if (k + 1 == n) return x[k];
    float next = x[k + 1];
    for (int i = k + 2; i < n; i++) next = x[i] < next ? x[i] : next;
    return (float)(x[k] + (rank - k) * (next - x[k]));
}

static inline void lb_reservoir_statistics(const lb_reservoir *r, double now_s, float to[5]) {
    int n = r->seen < LB_RESERVOIR_SIZE ? (int)r->seen : LB_RESERVOIR_SIZE;
    float x[LB_RESERVOIR_SIZE], discounted[LB_RESERVOIR_SIZE];
    double total = 0.0, total_discounted = 0.0, squares = 0.0;
    memset(to, 0, 5 * sizeof *to);
    if (n == 0) return;
    for (int i = 0; i < n; i++) {
        x[i] = r->value[i];
        discounted[i] = (float)(x[i] * exp((now_s - r->time_s[i]) * LB_LOG_DISCOUNT));
        total += x[i], total_discounted += discounted[i];
    }
    for (int i = 0; i < n; i++) squares += (x[i] - total / n) * (x[i] - total / n);
    to[LB_MEAN] = (float)(total / n), to[LB_STD] = (float)sqrt(squares / n);
    to[LB_DISCOUNTED_MEAN] = (float)(total_discounted / n);
    to[LB_P90] = lb_percentile_90(x, n), to[LB_DISCOUNTED_P90] = lb_percentile_90(discounted, n);
}

#endif
