/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_MAPS_H
#define SLUICE_PACKET_MAPS_H
/*
 * The packet splice's pinned maps. Their layout is bpf/packet_abi.h; sizes marked with 1 are set before
 * loading.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "flow_abi.h"
#include "packet_abi.h"

#define PACKET_EVENTS_BYTES (1 << 20)
#define PACKET_HELLOS_BYTES (1 << 18)

/* Preallocated: exact in size, so that "full" is known in advance; nothing is allocated on the way of a
 * packet. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct packet_tuple);
    __type(value, struct packet_route);
} packet_routes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct packet_flow);
} packet_flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, PACKET_NAMES_MAX);
    __type(key, __u32);
    __type(value, struct packet_name);
} packet_names SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct packet_control);
} packet_control SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, PACKET_EVENTS_BYTES);
} packet_events SEC(".maps");

/* Of its own: whoever floods it delays others' second hellos, and hides no flow's end. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, PACKET_HELLOS_BYTES);
} packet_hellos SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, PACKET_GUARDS_MAX);
    __type(key, __u32);
    __type(value, struct packet_guard);
} packet_guards SEC(".maps");

/* The collector's clock. A map of its own, as one that holds a timer cannot be mapped by user space. */
struct packet_clock {
    struct bpf_timer timer;
    __u32 cursor; /* the slot to look at next */
    __u32 unused;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct packet_clock);
} packet_clock SEC(".maps");

static __always_inline struct packet_tuple packet_tuple_reverse(const struct packet_tuple* tuple) {
    struct packet_tuple reversed;
    __builtin_memcpy(reversed.source, tuple->destination, sizeof(reversed.source));
    __builtin_memcpy(reversed.destination, tuple->source, sizeof(reversed.destination));
    reversed.source_port = tuple->destination_port;
    reversed.destination_port = tuple->source_port;
    return reversed;
}

/* The route of the other direction of the same flow. */
static __noinline struct packet_route* packet_other_route(const struct packet_route* route) {
    struct packet_tuple key = packet_tuple_reverse(&route->leaves);
    return bpf_map_lookup_elem(&packet_routes, &key);
}

static __always_inline struct packet_flow* packet_flow_at(__u32 slot) {
    return bpf_map_lookup_elem(&packet_flows, &slot);
}

/* A slot's, unless it is another's at present. */
static __always_inline struct packet_guard* packet_guard_of(__u32 slot) {
    const __u32 index = slot % PACKET_GUARDS_MAX;
    struct packet_guard* const guard = bpf_map_lookup_elem(&packet_guards, &index);
    return guard && guard->slot == slot ? guard : NULL;
}

#endif
