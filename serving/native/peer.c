/* The other side of a region, for tests and benchmarks of serving/shared_memory.
 *
 *     peer NAME write N     messages out, as fast as it can, all of whose numbers follow from the first one;
 *                           prints messages per s
 *     peer NAME read N S    messages out, N new ones or for S s: prints how many were whole, and torn, how
 *                           often none could be read, and reads per s
 *     peer NAME share N S   the same, and a thread of this process writes meanwhile
 *     peer NAME echo        what it reads as messages in, it writes as messages out; until killed
 *     peer NAME pong N      N times: writes a message in, waits for the message out that answers; prints us
 *     peer NAME fill N      N messages in, of weights that follow from their numbers; prints messages per s
 *     peer NAME create M    makes a region of M servers, and waits for a byte
 */
#include "lb_shm.h"
#include <pthread.h>
#include <stdlib.h>

static void fill_out(lb_out *out, uint32_t servers, uint64_t number) {
    for (uint32_t j = 0; j < servers; j++) {
        out->servers[j].completed = number + j, out->servers[j].ongoing = (uint32_t)(number + j);
        out->servers[j].is_active = (uint32_t)number & 1;
        for (int k = 0; k < (int)LB_STATISTICS; k++) out->servers[j].statistics_s[k] = (float)(number % 65536);
    }
}

static int is_whole(const lb_out *out, uint32_t servers) {
    uint64_t number = out->envelope.number;
    for (uint32_t j = 0; j < servers; j++) {
        const lb_server *server = &out->servers[j];
        if (server->completed != number + j || server->ongoing != (uint32_t)(number + j)) return 0;
        if (server->is_active != ((uint32_t)number & 1)) return 0;
        for (int k = 0; k < (int)LB_STATISTICS; k++)
            if (server->statistics_s[k] != (float)(number % 65536)) return 0;
    }
    return 1;
}

static void write_out(const lb_region *region, lb_out *out, uint64_t count, const atomic_int *stop) {
    uint64_t first = atomic_load(&lb_head(region)->written[LB_OUT][0]);
    for (uint64_t i = 1; i <= count && !atomic_load_explicit(stop, memory_order_relaxed); i++) {
        fill_out(out, region->num_servers, first + i);
        lb_write_out(region, out);
    }
}

static void read_out(lb_region *region, lb_out *out, uint64_t count, double most_s) {
    uint64_t whole = 0, torn = 0, starved = 0, begin_ns = lb_now_ns();
    uint64_t until_ns = begin_ns + (uint64_t)(most_s * 1e9);
    for (uint64_t tries = 1; whole + torn < count && (tries % 1024 || lb_now_ns() < until_ns); tries++) {
        int found = lb_read_out(region, out);
        if (found < 0) starved++;
        if (found <= 0) continue;
        if (is_whole(out, region->num_servers)) whole++; else torn++;
    }
    printf("%llu %llu %llu %f\n", (unsigned long long)whole, (unsigned long long)torn, (unsigned long long)starved,
           (double)(whole + torn) / ((double)(lb_now_ns() - begin_ns) / 1e9));
}

typedef struct {
    lb_region region;
    atomic_int stop;
} writer;

static void *write_until_stopped(void *argument) {
    writer *self = argument;
    lb_out *out = calloc(1, self->region.out_bytes);
    write_out(&self->region, out, UINT64_MAX, &self->stop);
    free(out);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *mode = argv[2];
    uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    double most_s = argc > 4 ? atof(argv[4]) : 60.0;
    lb_region region;
    int creates = !strcmp(mode, "create");
    int status = creates ? lb_create(&region, argv[1], (uint32_t)count, 8, 0) : lb_attach(&region, argv[1]);
    if (status) {
        printf("%s\n", strerror(-status));
        return 1;
    }
    lb_out *out = calloc(1, region.out_bytes);
    lb_in *in = calloc(1, region.in_bytes);
    lb_beat(&region, LB_PLANE);
    if (creates) {
        printf("made\n");
        fflush(stdout);
        if (getchar() == EOF) return 0;
    } else if (!strcmp(mode, "write")) {
        const atomic_int never = 0;
        uint64_t begin_ns = lb_now_ns();
        write_out(&region, out, count, &never);
        printf("%f\n", (double)count / ((double)(lb_now_ns() - begin_ns) / 1e9));
    } else if (!strcmp(mode, "read")) {
        read_out(&region, out, count, most_s);
    } else if (!strcmp(mode, "share")) {
        writer other = {region, 0};
        pthread_t thread;
        if (pthread_create(&thread, NULL, write_until_stopped, &other)) return 1;
        read_out(&region, out, count, most_s);
        atomic_store(&other.stop, 1);
        pthread_join(thread, NULL);
    } else if (!strcmp(mode, "echo")) {
        for (;;)
            if (lb_read_in(&region, in) > 0) {
                for (uint32_t j = 0; j < region.num_servers; j++) out->servers[j].completed = in->envelope.number;
                lb_write_out(&region, out);
            }
    } else if (!strcmp(mode, "pong")) {
        uint64_t begin_ns = lb_now_ns();
        for (uint64_t i = 0; i < count; i++) {
            lb_write_in(&region, in);
            while (lb_read_out(&region, out) <= 0 || out->servers[0].completed != in->envelope.number) {}
        }
        printf("%f\n", (double)(lb_now_ns() - begin_ns) / 1e3 / (double)count);
    } else if (!strcmp(mode, "fill")) {
        uint64_t begin_ns = lb_now_ns();
        for (uint64_t i = 1; i <= count; i++) {
            for (uint32_t j = 0; j < region.num_servers; j++) in->servers[j].weight = (float)(i % 65536);
            lb_write_in(&region, in);
        }
        printf("%f\n", (double)count / ((double)(lb_now_ns() - begin_ns) / 1e9));
    } else {
        return 2;
    }
    lb_detach(&region);
    free(out);
    free(in);
    return 0;
}
