/* A small data plane: flows, a flow table, dispatch by weights from shared memory, reservoirs.
 *
 *     gcc -std=gnu11 -O2 -I serving/shared_memory -I serving/native serving/native/data_plane.c -lm -o data_plane
 *     ./data_plane run lb_rl_shm --cores 2,2,4 --rate 300 --seconds 60 --slow 0:0.15
 *     ./data_plane bench lb_rl_shm --cores 2,2,4 --flows 10000000
 *
 * `run` makes the region and plays in real time: Poisson arrivals of exponential work, 20 ms in the mean,
 * on servers that share their cores, a tick a millisecond. Four times a second it samples the flows in
 * progress, publishes what it saw, and takes the newest weights; `python -m marlserve.serving.controller
 * --backend shm` is the other side. A line of JSON at the end, and at SIGTERM, says what flows took.
 *
 * `bench` measures what a flow costs, from its arrival in the table to its end, in ns: by shortest
 * expected delay with fixed weights, and then with weights from the region, reservoirs and messages too;
 * and in us what a message costs, whose statistics are of full reservoirs.
 */
#include "lb_shm.h"
#include "reservoir.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

enum { MOST = 64, TABLE = 1 << 16, TICK_NS = 1000000, STEP_TICKS = 250 };
static const double MEAN_WORK_S = 0.02;

typedef struct { /* in progress; key 0: the place is free */
    uint64_t key;
    double began_s, work_s;
    uint32_t server;
} flow;

typedef struct {
    uint32_t num_servers;
    double cores[MOST], speed[MOST];
    float weight[MOST];
    uint32_t ongoing[MOST];
    uint64_t completed[MOST];
    lb_reservoir fct[MOST], duration[MOST];
    flow *table;
    uint64_t random;
} plane;

static volatile sig_atomic_t is_over;
static void end(int signal) { (void)signal, is_over = 1; }

/* argmin (q + 1) / w, of ties the first from `place` on; weight 0 takes none. */
static uint32_t choose(const plane *p, uint32_t place) {
    uint32_t best = place;
    float least = INFINITY;
    for (uint32_t i = 0, j = place; i < p->num_servers; i++, j = j + 1 == p->num_servers ? 0 : j + 1)
        if (p->weight[j] > 0.0f) {
            float delay = (float)(p->ongoing[j] + 1) / p->weight[j];
            if (delay < least) least = delay, best = j;
        }
    return best;
}

/* The place of a flow in the table, or of the free one where it belongs; linear probing. */
static uint32_t find(const plane *p, uint64_t key) {
    uint32_t place = (uint32_t)(key * 0x9E3779B97F4A7C15u >> 48) & (TABLE - 1);
    while (p->table[place].key != 0 && p->table[place].key != key) place = (place + 1) & (TABLE - 1);
    return place;
}

static void begin_flow(plane *p, uint64_t key, double now_s, double work_s) {
    uint32_t server = choose(p, (uint32_t)(lb_random(&p->random) % p->num_servers));
    p->table[find(p, key)] = (flow){key, now_s, work_s, server};
    p->ongoing[server]++;
}

/* Free its place, and move up those that were beside it for want of room. */
static flow end_flow(plane *p, uint32_t place) {
    flow ended = p->table[place];
    p->ongoing[ended.server]--, p->completed[ended.server]++;
    p->table[place].key = 0;
    for (uint32_t next = (place + 1) & (TABLE - 1); p->table[next].key != 0; next = (next + 1) & (TABLE - 1)) {
        flow moved = p->table[next];
        p->table[next].key = 0;
        p->table[find(p, moved.key)] = moved;
    }
    return ended;
}

static void publish(plane *p, lb_region *region, lb_out *out, double now_s) {
    for (uint32_t j = 0; j < p->num_servers; j++) {
        lb_server *server = &out->servers[j];
        server->completed = p->completed[j], server->ongoing = p->ongoing[j], server->is_active = p->weight[j] > 0.0f;
        lb_reservoir_statistics(&p->fct[j], now_s, server->statistics_s);
        lb_reservoir_statistics(&p->duration[j], now_s, server->statistics_s + 5);
    }
    lb_write_out(region, out);
    lb_beat(region, LB_PLANE);
}

static void take_weights(plane *p, lb_region *region, lb_in *in) {
    float total = 0.0f;
    if (lb_read_in(region, in) <= 0) return;
    for (uint32_t j = 0; j < p->num_servers; j++) {
        float weight = in->servers[j].weight;
        if (!(weight >= 0.0f && weight < 1e6f)) return; /* whoever wrote that: the last ones stay */
        total += weight;
    }
    if (total <= 0.0f) return;
    for (uint32_t j = 0; j < p->num_servers; j++) p->weight[j] = in->servers[j].weight;
}

static void remember(plane *p, const flow *ended, double now_s) {
    float took_s = (float)(now_s - ended->began_s);
    lb_reservoir_add(&p->fct[ended->server], took_s, now_s);
    lb_reservoir_add(&p->duration[ended->server], took_s, now_s);
}

static void run(plane *p, lb_region *region, double rate, double seconds) {
    lb_out *out = calloc(1, region->out_bytes);
    lb_in *in = calloc(1, region->in_bytes);
    uint64_t begin_ns = lb_now_ns(), key = 0, ended_flows = 0;
    double total_s = 0.0, next_s = 0.0;
    for (uint64_t tick = 1; !is_over && tick * TICK_NS < seconds * 1e9; tick++) {
        uint64_t due_ns = begin_ns + tick * TICK_NS;
        struct timespec due = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR && !is_over) {}
        double now_s = (double)(tick * TICK_NS) / 1e9;
        for (; next_s < now_s; next_s -= log(1.0 - lb_uniform(&p->random)) / rate)
            begin_flow(p, ++key, next_s, -MEAN_WORK_S * log(1.0 - lb_uniform(&p->random)));
        double share[MOST];
        for (uint32_t j = 0; j < p->num_servers; j++)
            share[j] = p->speed[j] * fmin(1.0, p->cores[j] / fmax(p->ongoing[j], 1.0)) * TICK_NS / 1e9;
        for (uint32_t place = 0; place < TABLE; place++) {
            flow *each = &p->table[place];
            if (each->key == 0 || (each->work_s -= share[each->server]) > 0.0) continue;
            flow ended = end_flow(p, place--); /* another one may have moved here */
            remember(p, &ended, now_s);
            total_s += now_s - ended.began_s, ended_flows++;
        }
        if (tick % STEP_TICKS) continue;
        for (uint32_t place = 0; place < TABLE; place++)
            if (p->table[place].key != 0)
                lb_reservoir_add(&p->duration[p->table[place].server], (float)(now_s - p->table[place].began_s), now_s);
        publish(p, region, out, now_s);
        take_weights(p, region, in);
    }
    printf("{\"flows\": %" PRIu64 ", \"mean_s\": %.6f, \"weights\": [", ended_flows, ended_flows ? total_s / (double)ended_flows : 0.0);
    for (uint32_t j = 0; j < p->num_servers; j++) printf("%s%g", j ? ", " : "", (double)p->weight[j]);
    printf("], \"controller_age_s\": %.3f}\n", fmin(lb_beat_age_s(region, LB_CONTROLLER), 1e9));
    free(out), free(in);
}

/* ns per flow; 100 are in progress at any time. */
static double bench(plane *p, lb_region *region, uint64_t flows) {
    enum { IN_PROGRESS = 100 };
    lb_out *out = region ? calloc(1, region->out_bytes) : NULL;
    lb_in *in = region ? calloc(1, region->in_bytes) : NULL;
    for (uint64_t key = 1; key <= IN_PROGRESS; key++) begin_flow(p, key, 0.0, 0.0);
    uint64_t begin_ns = lb_now_ns(), due_ns = begin_ns;
    for (uint64_t key = IN_PROGRESS + 1; key <= IN_PROGRESS + flows; key++) {
        double now_s = (double)key / 400.0;
        begin_flow(p, key, now_s, 0.0);
        flow ended = end_flow(p, find(p, key - IN_PROGRESS));
        if (!region) continue;
        remember(p, &ended, now_s);
        if (key % 1024 || lb_now_ns() < due_ns) continue;
        publish(p, region, out, now_s);
        take_weights(p, region, in);
        due_ns += STEP_TICKS * TICK_NS;
    }
    double ns = (double)(lb_now_ns() - begin_ns) / (double)flows;
    free(out), free(in);
    return ns;
}

static plane *made(uint32_t num_servers, const double *cores) {
    plane *p = calloc(1, sizeof *p);
    p->num_servers = num_servers, p->random = 1, p->table = calloc(TABLE, sizeof *p->table);
    for (uint32_t j = 0; j < num_servers; j++) {
        p->cores[j] = cores[j], p->weight[j] = (float)cores[j], p->speed[j] = 1.0;
        lb_reservoir_init(&p->fct[j], LB_OVERWRITE, 2 * j), lb_reservoir_init(&p->duration[j], LB_OVERWRITE, 2 * j + 1);
    }
    return p;
}

static void unmake(plane *p) {
    free(p->table);
    free(p);
}

int main(int argc, char **argv) {
    double cores[MOST] = {2, 2, 4}, rate = 200.0, seconds = 60.0, factor[MOST];
    uint32_t num_servers = 3;
    uint64_t flows = 10000000;
    for (int j = 0; j < MOST; j++) factor[j] = 1.0;
    if (argc < 3 || argc % 2 == 0) return fprintf(stderr, "data_plane run|bench NAME [--flag value]...\n"), 2;
    for (int i = 3; i < argc; i += 2) {
        char *flag = argv[i], *value = argv[i + 1];
        unsigned server = 0;
        if (!strcmp(flag, "--rate")) rate = atof(value);
        else if (!strcmp(flag, "--seconds")) seconds = atof(value);
        else if (!strcmp(flag, "--flows")) flows = strtoull(value, NULL, 10);
        else if (!strcmp(flag, "--cores"))
            for (num_servers = 0; num_servers < MOST && *value; value += *value == ',') cores[num_servers++] = strtod(value, &value);
        else if (!strcmp(flag, "--slow") && sscanf(value, "%u:", &server) == 1 && server < MOST) factor[server] = atof(strchr(value, ':') + 1);
        else return fprintf(stderr, "%s %s is not known\n", flag, value), 2;
    }
    lb_region region;
    int status = lb_create(&region, argv[2], num_servers, 8, 0);
    if (status) return fprintf(stderr, "%s: %s\n", argv[2], strerror(-status)), 1;
    signal(SIGTERM, end), signal(SIGINT, end);
    plane *p = made(num_servers, cores);
    if (!strcmp(argv[1], "run")) {
        memcpy(p->speed, factor, sizeof p->speed);
        run(p, &region, rate, seconds);
    } else {
        plane *fixed = made(num_servers, cores);
        double alone = bench(fixed, NULL, flows), with = bench(p, &region, flows);
        unmake(fixed);
        lb_out *out = calloc(1, region.out_bytes);
        uint64_t begin_ns = lb_now_ns();
        for (int i = 0; i < 1000; i++) publish(p, &region, out, 1e4);
        double message_us = (double)(lb_now_ns() - begin_ns) / 1e6;
        printf("{\"sed_ns\": %.2f, \"policy_ns\": %.2f, \"message_us\": %.2f}\n", alone, with, message_us);
        free(out);
    }
    unmake(p);
    lb_detach(&region);
    char path[300];
    snprintf(path, sizeof path, "/dev/shm/%s", argv[2]);
    unlink(path);
    return 0;
}
