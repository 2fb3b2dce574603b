/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_LEG_H
#define SLUICE_PACKET_LEG_H
/*
 * What is known of a leg before the splice, how it is read from the options of a segment, and which two legs
 * make a flow.
 */
#include "hold_abi.h"
#include "packet_checksum.h"
#include "packet_parse.h"

#define HOLD_OPTIONS_BYTES_MAX 40
#define NS_PER_MS 1000000ULL

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, HELD_LEGS_MAX);
    __type(key, struct packet_tuple);
    __type(value, struct held_leg);
} held_legs SEC(".maps");

/* Upstream legs whose packets carry another tuple than their socket: NAT. Key: the tuple of the server's
 * packets as the socket expects them; value: as they arrive. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, HELD_LEGS_MAX / 2);
    __type(key, struct packet_tuple);
    __type(value, struct packet_tuple);
} held_names SEC(".maps");

/* Upstream sockets with an address or a port that is not the client's: the agent says, before they connect,
 * which client they are for (the tuple of its packets). */
struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct packet_tuple);
} held_dials SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct hold_control);
} hold_control SEC(".maps");

/* The options of one segment; an offset is that of the option within the TCP header, 0: it is not there. */
struct hold_options {
    __u32 tsval;
    __u32 tsecr;
    __u16 mss;
    __u8 scale;
    __u8 has; /* LEG_TIMESTAMPS ... */
    __u8 mss_at;
    __u8 sack_at;
    __u8 timestamps_at;
    __u8 scale_at;
};

#define PACKET_ECE 0x40

/* A function of its own, which the verifier walks once. Each option is read from the packet, not from a copy:
 * an index into the stack would have to be known exactly, on every path. `tcp`: the TCP header's offset. */
__noinline int hold_parse_options(struct __sk_buff* skb, __u32 tcp, __u32 bytes, struct hold_options* o) {
    if (!o || bytes > HOLD_OPTIONS_BYTES_MAX) return 0;
    __u32 at = sizeof(struct tcphdr);
    const __u32 end = at + bytes;
    for (int i = 0; i < HOLD_OPTIONS_BYTES_MAX && at < end; ++i) {
        __u8 head[2];
        if (bpf_skb_load_bytes(skb, tcp + at, head, 1) || head[0] == 0) break;
        if (head[0] == 1) {
            ++at;
            continue;
        }
        if (bpf_skb_load_bytes(skb, tcp + at, head, 2) || head[1] < 2) break;
        if (head[0] == 2 && head[1] == 4) {
            __be16 mss;
            if (bpf_skb_load_bytes(skb, tcp + at + 2, &mss, sizeof(mss))) break;
            o->mss = bpf_ntohs(mss);
            o->mss_at = at;
        } else if (head[0] == 3 && head[1] == 3) {
            __u8 scale;
            if (bpf_skb_load_bytes(skb, tcp + at + 2, &scale, 1)) break;
            o->scale = scale > 14 ? 14 : scale; /* RFC 7323 2.3 */
            o->scale_at = at;
            o->has |= LEG_SCALING;
        } else if (head[0] == 4 && head[1] == 2) {
            o->sack_at = at;
            o->has |= LEG_SACK;
        } else if (head[0] == 8 && head[1] == 10) {
            __be32 stamps[2];
            if (bpf_skb_load_bytes(skb, tcp + at + 2, stamps, sizeof(stamps))) break;
            o->tsval = bpf_ntohl(stamps[0]);
            o->tsecr = bpf_ntohl(stamps[1]);
            o->timestamps_at = at;
            o->has |= LEG_TIMESTAMPS;
        }
        at += head[1];
    }
    return 0;
}

static __always_inline struct hold_options hold_options(struct __sk_buff* skb, const struct packet* packet) {
    struct hold_options options = {};
    hold_parse_options(skb, packet->l4, packet->tcp_bytes - sizeof(struct tcphdr), &options);
    return options;
}

static __always_inline int hold_same(const struct packet_tuple* a, const struct packet_tuple* b) {
    return __builtin_memcmp(a, b, sizeof(*a)) == 0;
}

/* The server's SYN/ACK. */
static __always_inline void hold_learn_server(struct __sk_buff* skb, const struct packet* packet,
                                              struct held_leg* leg) {
    if (leg->state != LEG_learning || packet->ack != leg->local_isn + 1) return;
    if (!packet_is_intact(skb, packet)) return; /* our socket does not believe it either */
    const struct hold_options options = hold_options(skb, packet);
    leg->peer_isn = packet->seq;
    leg->peer_next = leg->local_ack = packet->seq + 1;
    leg->peer_ack = packet->ack;
    leg->peer_tsval = options.tsval;
    leg->peer_tsval_ns = bpf_ktime_get_ns();
    leg->peer_mss = options.mss;
    leg->peer_scale = options.scale;
    if (!(options.has & LEG_SCALING)) leg->local_scale = 0;
    leg->peer_window = packet->window >> options.scale; /* a SYN's is unscaled */
    leg->options = (leg->options & options.has) | (packet->flags & PACKET_ECE ? LEG_ECN : 0);
    leg->state = LEG_held;
}

/* A packet of the peer of a leg that is not taken. Its options, where they were looked at. */
static __always_inline struct hold_options hold_arrive(struct __sk_buff* skb, const struct packet* packet,
                                                       struct held_leg* leg) {
    struct hold_options options = {};
    if (packet->flags & PACKET_SYN) {
        if (packet->flags & PACKET_ACK) hold_learn_server(skb, packet, leg);
        return options;
    }
    if (leg->state != LEG_held && leg->state != LEG_open) return options;
    if (packet->flags & PACKET_RST) leg->events |= LEG_RST;
    if (packet->flags & PACKET_URG) leg->events |= LEG_URGENT;
    const __u32 end = packet->seq + packet->payload;
    if (packet->payload > 0) {
        if (!leg->payload_ns) leg->payload_ns = bpf_ktime_get_ns();
        leg->events |= LEG_PAYLOAD;
        if ((__s32)(end - leg->peer_next) > 0) leg->peer_next = end;
    }
    if (packet->flags & PACKET_FIN) leg->events |= LEG_FIN;
    if ((__s32)(packet->ack - leg->peer_ack) >= 0) {
        leg->peer_ack = packet->ack;
        leg->peer_window = packet->window;
    }
    if (!(leg->options & LEG_TIMESTAMPS)) return options;
    options = hold_options(skb, packet);
    if (!options.timestamps_at || (__s32)(options.tsval - leg->peer_tsval) < 0) return options;
    leg->peer_tsval = options.tsval;
    leg->peer_tsval_ns = bpf_ktime_get_ns();
    return options;
}

/* Whether the ends of the two legs, once they talk to each other, still talk as they agreed upon. */
static __always_inline __u32 legs_differ(const struct held_leg* client, const struct held_leg* server) {
    const __u8 differ = client->options ^ server->options;
    if (differ & LEG_TIMESTAMPS) return SPLICE_REASON_timestamps_differ;
    if (differ & LEG_SACK) return SPLICE_REASON_sack_differs;
    if (differ & LEG_SCALING) return SPLICE_REASON_window_scaling_differs;
    if (differ & LEG_ECN) return SPLICE_REASON_ecn_differs;
    /* None may send larger segments than the other end has asked for. */
    if (server->peer_mss < client->local_mss || client->peer_mss < server->local_mss)
        return SPLICE_REASON_mss_differs;
    return SPLICE_REASON_automatic;
}

/* The three numbers: as in struct take_legs. */
static __always_inline __u32 legs_refuse(const struct held_leg* client, const struct held_leg* server,
                                         __u32 sent, __u32 asked, __u32 answered) {
    /* Where the flow begins on the client's leg. */
    const __u32 client_begin = client->peer_isn + 1 + asked;
    const __u32 answer_end = client->local_isn + 1 + answered;
    const __u8 events = client->events | server->events;
    if (events & LEG_RST) return SPLICE_REASON_leg_reset;
    if (events & LEG_URGENT) return SPLICE_REASON_urgent_data;
    if (events & LEG_FINISHED) return SPLICE_REASON_acknowledged;
    if (answered ? client->peer_ack != answer_end : client->events & LEG_SPOKE)
        return SPLICE_REASON_acknowledged;
    /* Whatever we have acknowledged to one end, the other has to us. */
    if ((__s32)(client->local_ack - (client_begin + sent)) > 0) return SPLICE_REASON_acknowledged;
    if (server->local_ack != server->peer_isn + 1) return SPLICE_REASON_acknowledged;
    if (server->peer_ack != server->local_isn + 1 + sent) return SPLICE_REASON_acknowledged;
    return legs_differ(client, server);
}

#endif
