/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_DEFERRED_H
#define SLUICE_PACKET_DEFERRED_H
/*
 * Deferred clients: a client's first bytes, read without a socket, where its server is one that can be
 * dialled without one (packet_dial.h). The kernel's TCP answers the SYN, after netfilter has had its say;
 * what completes the handshake is withheld from it, and what the client says first goes to the agent. At that
 * moment the kernel forgets the connection request: the very segment reaches it as an RST. When the agent
 * needs a socket after all, it makes one of the leg's numbers (TCP_REPAIR).
 *
 * What does not fit goes the ordinary way, and nothing is lost by having waited: the first bytes are several
 * segments, or more than a hello; the worker's ring is full; the client is silent until the kernel repeats
 * its SYN/ACK.
 */
#include "hold_abi.h"
#include "packet_bounce.h"
#include "packet_checksum.h"
#include "packet_dial.h"
#include "packet_leg.h"
#include "packet_parse.h"

#define DEFERRED_TLS_HANDSHAKE 22
#define DEFERRED_TLS_HEADER_BYTES 5

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, NEAR_SERVERS_MAX);
    __type(key, struct near_pair);
    __type(value, struct near_server);
} near_servers SEC(".maps");

struct deferred_ring {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, DEFERRED_RING_BYTES);
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, DEFERRED_RINGS_MAX);
    __type(key, __u32);
    __array(values, struct deferred_ring);
} deferred_rings SEC(".maps");

static __always_inline struct near_server* deferred_server(const struct packet_tuple* client) {
    struct near_pair pair = {.port = client->destination_port};
    __builtin_memcpy(pair.client, client->source, sizeof(pair.client));
    __builtin_memcpy(pair.server, client->destination, sizeof(pair.server));
    struct near_server* const server = bpf_map_lookup_elem(&near_servers, &pair);
    return server && server->mss && server->until_ns > bpf_ktime_get_ns() ? server : NULL;
}

/* Whether a client's first bytes are all in this segment: a TLS record, or less than the largest segment. */
static __always_inline int deferred_is_whole(struct __sk_buff* skb, const struct packet* packet,
                                             const struct held_leg* leg) {
    __u8 head[DEFERRED_TLS_HEADER_BYTES];
    if (packet->payload > DEFERRED_BYTES_MAX || packet->payload < sizeof(head) ||
        bpf_skb_load_bytes(skb, packet->l4 + packet->tcp_bytes, head, sizeof(head)))
        return 0;
    if (head[0] == DEFERRED_TLS_HANDSHAKE)
        return packet->payload == sizeof(head) + ((__u32)head[3] << 8 | head[4]);
    return packet->tcp_bytes - sizeof(struct tcphdr) + packet->payload < leg->local_mss;
}

/* Whether the kernel's TCP, too, takes a segment for one of this connection (tcp_check_req(): PAWS, and in
 * newer kernels what it echoes). Else it would not believe the RST either, and keep the request. */
static __always_inline int deferred_is_current(const struct held_leg* leg,
                                               const struct hold_options* options) {
    return !(leg->options & LEG_TIMESTAMPS) || !options->timestamps_at ||
           (options->tsecr == leg->local_tsval && (__s32)(options->tsval - leg->peer_tsval) >= 0);
}

static __always_inline int deferred_fill(struct __sk_buff* skb, const struct packet* packet,
                                         const struct held_leg* leg, struct deferred_client* deferred) {
    const struct near_server* const server = deferred_server(&packet->tuple);
    const int sum = packet_sum(skb, packet, packet->tcp_bytes);
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = packet->payload - 1;
    asm volatile("%0 &= 0x7ff" : "+r"(last));
    if (!server || sum < 0) return -1;
    deferred->tuple = packet->tuple;
    deferred->peer_isn = leg->peer_isn;
    deferred->bytes = last + 1;
    deferred->sum = sum & 0xffff;
    deferred->is_partial = (sum & PACKET_SUM_PARTIAL) != 0;
    deferred->server = *server;
    return (int)bpf_skb_load_bytes(skb, packet->l4 + packet->tcp_bytes, deferred->data, last + 1);
}

/* Hands a client's first bytes to the agent. Negative: it cannot be. */
static __noinline int deferred_hand_over(struct __sk_buff* skb, const struct packet* packet,
                                         const struct held_leg* leg) {
    const __u32 zero = 0;
    const struct hold_control* const control = bpf_map_lookup_elem(&hold_control, &zero);
    if (!control || !control->deferred_rings || !leg || !packet) return -1;
    /* Fibonacci's multiplier: a host's ports are often all even. */
    const __u32 hash = (packet->tuple.source[3] ^ packet->tuple.source_port) * 0x9e3779b1U;
    const __u32 index = (hash >> 16) % control->deferred_rings;
    void* const ring = bpf_map_lookup_elem(&deferred_rings, &index);
    if (!ring) return -1;
    struct deferred_client* const deferred = bpf_ringbuf_reserve(ring, sizeof(*deferred), 0);
    if (!deferred) return -1;
    if (deferred_fill(skb, packet, leg, deferred)) {
        bpf_ringbuf_discard(deferred, 0);
        return -1;
    }
    bpf_ringbuf_submit(deferred, 0);
    return 0;
}

/* Makes a segment an RST; whether its checksum was right is still to be seen. */
static __always_inline int deferred_reset(struct __sk_buff* skb, const struct packet* packet) {
    const __u32 at = packet->l4 + 12; /* the header's length, and the flags */
    const __u32 check = packet->l4 + __builtin_offsetof(struct tcphdr, check);
    __be16 before;
    if (bpf_skb_load_bytes(skb, at, &before, sizeof(before))) return TC_ACT_SHOT;
    const __be16 after = before | bpf_htons(PACKET_RST);
    if (bpf_l4_csum_replace(skb, check, before, after, sizeof(after)) ||
        bpf_skb_store_bytes(skb, at, &after, sizeof(after), 0))
        return TC_ACT_SHOT;
    return PACKET_PASSES;
}

/* Whether the agent is there still: its listener is. */
static __always_inline int deferred_has_agent(struct __sk_buff* skb, __u32 is_v4) {
    const __u32 zero = 0;
    const struct hold_control* const control = bpf_map_lookup_elem(&hold_control, &zero);
    struct packet_tuple loopback = {};
    if (!control) return 0;
    loopback.source[3] = loopback.destination[3] = bpf_htonl(is_v4 ? 0x7f000001 : 1);
    loopback.destination_port = bpf_htons((__u16)control->listener_port);
    return packet_socket_state(skb, &loopback, is_v4) == PACKET_SOCKET_LISTENS;
}

/* A packet of a client whose first bytes the agent has: there is no socket for it. Another SYN is answered,
 * and another leg begins. A client whose agent was killed learns that when it sends again: its segment,
 * turned round, is the RST that it believes. */
static __always_inline int deferred_follow(struct __sk_buff* skb, const struct packet* packet,
                                           struct held_leg* leg) {
    if (packet->flags & PACKET_SYN) return packet->seq == leg->peer_isn ? TC_ACT_SHOT : PACKET_PASSES;
    /* The kernel's TCP would not believe it either (RFC 5961 3.2). */
    if ((packet->flags & PACKET_RST) && packet->seq != leg->peer_next) return TC_ACT_SHOT;
    hold_arrive(skb, packet, leg);
    if ((packet->flags & (PACKET_RST | PACKET_ACK)) != PACKET_ACK || packet->is_fragment ||
        deferred_has_agent(skb, packet->is_v4))
        return TC_ACT_SHOT;
    const __u32 l3 = packet->l3;
    return packet_bounce(skb, packet) == 0 ? packet_dial_leave(skb, l3, skb->ifindex) : TC_ACT_SHOT;
}

static __noinline int deferred_arrive(struct __sk_buff* skb, const struct packet* packet,
                                      struct held_leg* leg) {
    if (!packet || !leg) return PACKET_PASSES;
    if (leg->deferred == DEFERRED_taken) return deferred_follow(skb, packet, leg);
    const __u8 flags = packet->flags & (PACKET_SYN | PACKET_FIN | PACKET_RST | PACKET_ACK | PACKET_URG);
    const int is_first = flags == PACKET_ACK && packet->seq == leg->peer_isn + 1 &&
                         packet->ack == leg->local_isn + 1 && !packet->is_fragment;
    if (is_first && !packet->payload && leg->deferred == DEFERRED_expected) {
        leg->deferred = DEFERRED_awaited; /* what it says, the next one says too */
        return TC_ACT_SHOT;
    }
    const struct hold_options options = hold_arrive(skb, packet, leg);
    if (is_first && deferred_is_whole(skb, packet, leg) && deferred_is_current(leg, &options)) {
        /* First: the agent may be quick. */
        leg->deferred = DEFERRED_taken;
        if (deferred_hand_over(skb, packet, leg) == 0) return deferred_reset(skb, packet);
    }
    leg->deferred = DEFERRED_none;
    return PACKET_PASSES;
}

#endif
