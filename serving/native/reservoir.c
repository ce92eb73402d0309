/* What reservoir.h does, for tests and benchmarks.
 *
 *     reservoir samples RULE SEED NOW_S < "value time_s" lines    the samples, then the statistics
 *     reservoir speed RULE N                                      adds per second of CPU time
 */
#include "reservoir.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    static lb_reservoir r;
    if (argc < 4) return 2;
    int rule = atoi(argv[2]);
    if (!strcmp(argv[1], "samples") && argc == 5) {
        double time_s, now_s = atof(argv[4]);
        float value, statistics[5];
        lb_reservoir_init(&r, rule, strtoull(argv[3], NULL, 10));
        while (scanf("%f %lf", &value, &time_s) == 2) lb_reservoir_add(&r, value, time_s);
        for (uint64_t i = 0; i < LB_RESERVOIR_SIZE && i < r.seen; i++) printf("%.9g ", (double)r.value[i]);
        lb_reservoir_statistics(&r, now_s, statistics);
        printf("\n");
        for (int i = 0; i < 5; i++) printf("%.9g ", (double)statistics[i]);
        printf("\n");
    } else {
        uint64_t count = strtoull(argv[3], NULL, 10);
        float statistics[5];
        struct timespec begin, end;
        lb_reservoir_init(&r, rule, 1);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        for (uint64_t i = 0; i < count; i++) lb_reservoir_add(&r, (float)i, (double)i);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        lb_reservoir_statistics(&r, (double)count, statistics); /* what was added is used */
        double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
        printf("%.0f %g\n", (double)count / seconds, (double)statistics[0]);
    }
    return 0;
}
