// SPDX-License-Identifier: GPL-2.0
// The flow table: what the agent, the CLI and (in kernel splice modes) the other programs know of each flow.
// Pinned, so that it can be read while no agent runs.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "flow_abi.h"

#define FLOWS_MAX (1 << 20)
#define EVENTS_BYTES (1 << 16)

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, FLOWS_MAX);
    __type(key, __u64);
    __type(value, struct flow_record);
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct agent_record);
} agent SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

// Run by the CLI (BPF_PROG_RUN) to ask the agent, which waits on the ring buffer, to end a flow. 1: the agent
// does not read its events (it is down, or stuck).
SEC("syscall")
int kill_flow(struct kill_event* request) {
    struct kill_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) return 1;
    event->flow_id = request->flow_id;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
