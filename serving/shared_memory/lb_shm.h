/* Shared memory between a data plane that balances load and a controller that sets its weights.
 *
 * Header only, C11, Linux; the other side is marlserve.serving.shared_memory in Python.
 *
 *     lb_region region;
 *     if (lb_attach(&region, "lb_rl_shm")) ...               // made by either side
 *     lb_out *out = calloc(1, region.out_bytes);              // fill in, then
 *     lb_write_out(&region, out);                             // at any rate, from one thread
 *     lb_in *in = calloc(1, region.in_bytes);
 *     if (lb_read_in(&region, in) > 0) ...                    // 1: new weights; 0: none; -1: torn
 *     lb_beat(&region, LB_PLANE);                             // now and then: it is alive
 *
 * A region is a file in /dev/shm: a header of LB_HEADER_BYTES, `ring` slots of messages out, and 2
 * slots of messages in. All numbers are in the byte order of the machine, which the header tells.
 * Every slot has a sequence lock of its own: its sequence is odd while it is written. A writer never
 * waits. A reader copies a slot and takes the copy if the sequence is even, and the same before and
 * after; it reads the newest slot, which stays as it is for `ring` - 1 messages more (for one more of
 * messages in), so that it tries again only if it was that slow, and at most LB_TRIES times. A writer
 * that is killed in a slot leaves it odd, and the newest whole one is read.
 *
 * Payloads are copied in words of 8 bytes by relaxed atomics, between the fences of Boehm (2012, Can
 * seqlocks get along with programming language memory models?). With LB_CRC set in the header each
 * message has the CRC-32 of its bytes, too: needed where one side cannot order its loads and stores,
 * as Python off x86.
 *
 * Each direction has one writer. Functions return 0 for success, or a negative errno.
 */
#ifndef LB_SHM_H
#define LB_SHM_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LB_MAGIC 0x4C52424Cu /* "LBRL" */
#define LB_BYTE_ORDER 0x01020304u
#define LB_VERSION 1u
#define LB_HEADER_BYTES 384u
#define LB_MOST_SERVERS 4096u
#define LB_MOST_RING 1024u
#define LB_STATISTICS 10u /* of flows: five of completed ones, five of those in progress, in s */
#define LB_CRC 1u
#define LB_TRIES 1000

typedef struct {
    uint32_t magic, byte_order, version, num_servers, ring, flags, out_bytes, in_bytes;
    uint64_t total_bytes;
    uint64_t owner_pid, owner_began; /* who made it, and when that process began: see proc(5) */
    _Atomic uint64_t ready;          /* 1 once all of this is written */
    char pad0[64];
    _Atomic uint64_t beat_ns[2][8]; /* on CLOCK_MONOTONIC, of LB_PLANE and LB_CONTROLLER */
    _Atomic uint64_t written[2][8]; /* messages so far, of LB_OUT and LB_IN */
} lb_header;
_Static_assert(sizeof(lb_header) == LB_HEADER_BYTES, "the header has no holes");

enum { LB_PLANE, LB_CONTROLLER };
enum { LB_OUT, LB_IN };

typedef struct { /* of every message */
    _Atomic uint64_t sequence;
    uint64_t number;  /* 1, 2, ... */
    uint64_t time_ns; /* on CLOCK_MONOTONIC */
    uint32_t crc, pad;
} lb_envelope;

typedef struct { /* of one server */
    uint64_t completed; /* flows, since the beginning */
    uint32_t ongoing;   /* flows in progress */
    uint32_t is_active;
    float statistics_s[LB_STATISTICS];
} lb_server;
_Static_assert(sizeof(lb_server) == 56, "as numpy has it");

typedef struct {
    float weight;
    float odds;     /* of an alias table (Walker 1977, Vose 1991): stay here with this chance, */
    uint32_t alias; /* or else go there */
} lb_choice;

typedef struct { lb_envelope envelope; lb_server servers[]; } lb_out;
typedef struct { lb_envelope envelope; lb_choice servers[]; } lb_in;

typedef struct {
    uint8_t *base;
    uint64_t total_bytes;
    uint32_t num_servers, ring, flags, out_bytes, in_bytes;
    uint64_t read[2]; /* the last message that was read, of LB_OUT and LB_IN */
} lb_region;

static inline uint64_t lb_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint32_t lb_slot_bytes(uint32_t servers, size_t each) {
    return (uint32_t)((sizeof(lb_envelope) + servers * each + 63) / 64 * 64);
}

static inline lb_header *lb_head(const lb_region *region) { return (lb_header *)(void *)region->base; }

/* When a process began, in ticks since the machine did; 0 if there is none. */
static inline uint64_t lb_process_began(uint64_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    char *at = strrchr(text, ')'); /* the name before may have anything in it */
    unsigned long long began = 0;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &began) != 1)
        return 0;
    return began;
}

static inline int lb_owner_is_alive(const lb_region *region) {
    const lb_header *head = lb_head(region);
    return head->owner_began != 0 && lb_process_began(head->owner_pid) == head->owner_began;
}

/* What a file of so many bytes says of itself, seen to; -EPROTO: of another kind or version. */
static inline int lb_check(lb_region *region, uint8_t *base, uint64_t bytes) {
    lb_header *head = (lb_header *)(void *)base;
    if (bytes < LB_HEADER_BYTES) return -EPROTO;
    if (!atomic_load_explicit(&head->ready, memory_order_acquire)) return -EAGAIN;
    lb_region found = {.base = base, .total_bytes = head->total_bytes, .num_servers = head->num_servers, .ring = head->ring,
                       .flags = head->flags, .out_bytes = head->out_bytes, .in_bytes = head->in_bytes};
    if (head->magic != LB_MAGIC || head->byte_order != LB_BYTE_ORDER || head->version != LB_VERSION) return -EPROTO;
    if (found.num_servers < 1 || found.num_servers > LB_MOST_SERVERS || found.ring < 2 || found.ring > LB_MOST_RING ||
        found.flags > LB_CRC || found.out_bytes != lb_slot_bytes(found.num_servers, sizeof(lb_server)) ||
        found.in_bytes != lb_slot_bytes(found.num_servers, sizeof(lb_choice)) ||
        found.total_bytes != LB_HEADER_BYTES + (uint64_t)found.ring * found.out_bytes + 2 * (uint64_t)found.in_bytes ||
        found.total_bytes != bytes)
        return -EPROTO;
    *region = found;
    return 0;
}

static inline int lb_map(lb_region *region, int file, uint64_t bytes) {
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (base == MAP_FAILED) return -errno;
    int status = lb_check(region, base, bytes);
    if (status) munmap(base, bytes);
    return status;
}

/* Attach to a region; -ENOENT, -EPROTO, or -EAGAIN while it is being made. */
static inline int lb_attach(lb_region *region, const char *name) {
    char path[256];
    if (snprintf(path, sizeof path, "/dev/shm/%s", name) >= (int)sizeof path) return -ENAMETOOLONG;
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return -errno;
    struct stat about;
    int status = fstat(file, &about) ? -errno : 0;
    if (!status) status = about.st_size < (off_t)LB_HEADER_BYTES ? -EPROTO : lb_map(region, file, (uint64_t)about.st_size);
    close(file);
    return status;
}

static inline void lb_detach(lb_region *region) {
    if (region->base) munmap(region->base, region->total_bytes);
    region->base = NULL;
}

/* Make a region; -EEXIST if one is there whose owner lives. One whose owner is gone is replaced: who
 * is attached to it hears no more. */
static inline int lb_create(lb_region *region, const char *name, uint32_t num_servers, uint32_t ring, uint32_t flags) {
    char path[256], unfinished[300];
    if (num_servers < 1 || num_servers > LB_MOST_SERVERS || ring < 2 || ring > LB_MOST_RING || flags > LB_CRC) return -EINVAL;
    if (snprintf(path, sizeof path, "/dev/shm/%s", name) >= (int)sizeof path) return -ENAMETOOLONG;
    lb_region old;
    if (!lb_attach(&old, name)) {
        int alive = lb_owner_is_alive(&old);
        lb_detach(&old);
        if (alive) return -EEXIST;
    }
    snprintf(unfinished, sizeof unfinished, "%s.%ld", path, (long)getpid());
    int file = open(unfinished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return -errno;
    uint32_t out_bytes = lb_slot_bytes(num_servers, sizeof(lb_server)), in_bytes = lb_slot_bytes(num_servers, sizeof(lb_choice));
    uint64_t bytes = LB_HEADER_BYTES + (uint64_t)ring * out_bytes + 2 * (uint64_t)in_bytes;
    int status = ftruncate(file, (off_t)bytes) ? -errno : 0;
    void *base = status ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (!status && base == MAP_FAILED) status = -errno;
    if (!status) {
        lb_header *head = base;
        head->magic = LB_MAGIC, head->byte_order = LB_BYTE_ORDER, head->version = LB_VERSION;
        head->num_servers = num_servers, head->ring = ring, head->flags = flags;
        head->out_bytes = out_bytes, head->in_bytes = in_bytes, head->total_bytes = bytes;
        head->owner_pid = (uint64_t)getpid(), head->owner_began = lb_process_began((uint64_t)getpid());
        atomic_store_explicit(&head->ready, 1, memory_order_release);
        status = lb_check(region, base, bytes);
        if (!status && rename(unfinished, path)) status = -errno;
        if (status) munmap(base, bytes);
    }
    if (status) unlink(unfinished);
    close(file);
    return status;
}

static inline void lb_beat(const lb_region *region, int side) {
    atomic_store_explicit(&lb_head(region)->beat_ns[side][0], lb_now_ns(), memory_order_relaxed);
}

/* Seconds since a side was alive; infinite if it never was. */
static inline double lb_beat_age_s(const lb_region *region, int side) {
    uint64_t beat_ns = atomic_load_explicit(&lb_head(region)->beat_ns[side][0], memory_order_relaxed);
    return beat_ns ? ((double)lb_now_ns() - (double)beat_ns) / 1e9 : 1.0 / 0.0;
}

/* CRC-32 of IEEE 802.3, as of zlib, by halves of a byte. */
static inline uint32_t lb_crc(uint32_t crc, const void *data, size_t bytes) {
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const uint8_t *at = data;
    crc = ~crc;
    while (bytes--) {
        crc ^= *at++;
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

/* Of all of a message but its sequence and the CRC itself. */
static inline uint32_t lb_message_crc(const lb_envelope *message, uint32_t bytes) {
    uint32_t crc = lb_crc(0, &message->number, 16);
    return lb_crc(crc, message + 1, bytes - sizeof *message);
}

static inline uint32_t lb_bytes(const lb_region *region, int way) { return way == LB_OUT ? region->out_bytes : region->in_bytes; }

static inline uint8_t *lb_slot(const lb_region *region, int way, uint64_t number) {
    if (way == LB_OUT) return region->base + LB_HEADER_BYTES + number % region->ring * region->out_bytes;
    return region->base + LB_HEADER_BYTES + (uint64_t)region->ring * region->out_bytes + (number & 1) * region->in_bytes;
}

/* Publish a message, whose envelope is filled in here. */
static inline void lb_write(const lb_region *region, int way, lb_envelope *message) {
    _Atomic uint64_t *written = &lb_head(region)->written[way][0];
    uint64_t number = atomic_load_explicit(written, memory_order_relaxed) + 1;
    uint32_t bytes = lb_bytes(region, way);
    _Atomic uint64_t *slot = (_Atomic uint64_t *)(void *)lb_slot(region, way, number);
    message->number = number, message->time_ns = lb_now_ns(), message->pad = 0;
    message->crc = region->flags & LB_CRC ? lb_message_crc(message, bytes) : 0;
    /* Odd already if a writer was killed here. */
    uint64_t odd = atomic_load_explicit(slot, memory_order_relaxed) | 1;
    atomic_store_explicit(slot, odd, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 1; i < bytes / 8; i++) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)message + 8 * i, 8);
        atomic_store_explicit(slot + i, word, memory_order_relaxed);
    }
    atomic_store_explicit(slot, odd + 1, memory_order_release);
    atomic_store_explicit(written, number, memory_order_release);
}

/* Copy the newest message: 1 if it is another one than was read before, 0 if not, -1 if none was whole
 * within LB_TRIES. */
static inline int lb_read(lb_region *region, int way, lb_envelope *message) {
    const _Atomic uint64_t *written = &lb_head(region)->written[way][0];
    uint32_t bytes = lb_bytes(region, way);
    for (int tries = 0; tries < LB_TRIES; tries++) {
        uint64_t number = atomic_load_explicit(written, memory_order_acquire);
        if (number == region->read[way] || number == 0) return 0;
        const _Atomic uint64_t *slot = (const _Atomic uint64_t *)(void *)lb_slot(region, way, number);
        uint64_t before = atomic_load_explicit(slot, memory_order_acquire);
        if (before & 1) continue;
        for (uint32_t i = 1; i < bytes / 8; i++) {
            uint64_t word = atomic_load_explicit(slot + i, memory_order_relaxed);
            memcpy((uint8_t *)message + 8 * i, &word, 8);
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(slot, memory_order_relaxed) != before) continue;
        if (message->number < number) continue; /* of a lap before: `written` came first */
        if (region->flags & LB_CRC && message->crc != lb_message_crc(message, bytes)) continue;
        region->read[way] = message->number;
        return 1;
    }
    return -1;
}

static inline void lb_write_out(const lb_region *region, lb_out *message) { lb_write(region, LB_OUT, &message->envelope); }
static inline int lb_read_out(lb_region *region, lb_out *message) { return lb_read(region, LB_OUT, &message->envelope); }
static inline void lb_write_in(const lb_region *region, lb_in *message) { lb_write(region, LB_IN, &message->envelope); }
static inline int lb_read_in(lb_region *region, lb_in *message) { return lb_read(region, LB_IN, &message->envelope); }

#endif
