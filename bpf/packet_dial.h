/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_DIAL_H
#define SLUICE_PACKET_DIAL_H
/*
 * Dials: the upstream leg of a flow that was judged, set up without a socket. The agent writes the client's
 * first bytes into the guard of the flow's slot and sends a bare SYN by a raw socket; at egress it becomes
 * one with the client's options, and at ingress the server's SYN/ACK becomes the answer to it, with these
 * bytes, and the flow is entered. Whatever else comes of it ends the dial, the server forgets it (RST), and
 * the agent connects a socket.
 *
 * The leg's initial sequence number is the agent's, which nobody can guess. Its clock is that of the last leg
 * with this tuple, be it a socket's or a dial's, as its server may be in TIME_WAIT and remember that: Linux
 * gives each tuple a clock of its own (secure_tcp_ts_off with ports; between two hosts, before).
 */
#include "hold_abi.h"
#include "packet_bounce.h"
#include "packet_checksum.h"
#include "packet_handover.h"
#include "packet_leg.h"
#include "packet_maps.h"
#include "packet_translate.h"

#define PACKET_ECN_SETUP 0xc0
#define PACKET_DIAL_SLOT_AT 28 /* TSval's place in the SYN */
#define PACKET_PSH 0x08
#define PACKET_HOPS 64
#define PACKET_NOPS 0x01010101
#define PACKET_SOCKET_LISTENS 10 /* TCP_LISTEN */

static __always_inline int packet_guard_moves(struct packet_guard* guard, __u32 from, __u32 to) {
    return __sync_val_compare_and_swap(&guard->state, from, to) == from;
}

union packet_dial_header {
    __u8 bytes[60];
    __u16 halves[30];
    __u32 words[15];
};

/* Of the socket that gets packets with this tuple; 0: there is none. */
static __noinline __u32 packet_socket_state(struct __sk_buff* skb, const struct packet_tuple* key,
                                            __u32 is_v4) {
    struct bpf_sock_tuple tuple = {};
    if (!key) return 0;
    if (is_v4) {
        tuple.ipv4.saddr = key->source[3];
        tuple.ipv4.daddr = key->destination[3];
        tuple.ipv4.sport = key->source_port;
        tuple.ipv4.dport = key->destination_port;
    } else {
        __builtin_memcpy(tuple.ipv6.saddr, key->source, 16);
        __builtin_memcpy(tuple.ipv6.daddr, key->destination, 16);
        tuple.ipv6.sport = key->source_port;
        tuple.ipv6.dport = key->destination_port;
    }
    struct bpf_sock* const found = bpf_skc_lookup_tcp(
        skb, &tuple, is_v4 ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6), (__u64)BPF_F_CURRENT_NETNS, 0);
    if (!found) return 0;
    const __u32 state = found->state;
    bpf_sk_release(found);
    return state;
}

/* Whether a connection of this host's has this tuple, as its packets arrive; also one in TIME_WAIT. */
static __always_inline int packet_has_socket(struct __sk_buff* skb, const struct packet_tuple* key,
                                             __u32 is_v4) {
    const __u32 state = packet_socket_state(skb, key, is_v4);
    return state && state != PACKET_SOCKET_LISTENS;
}

static __always_inline __u32 packet_dial_clock(const struct packet_guard* guard,
                                               const struct held_leg* last) {
    if (!last || !(last->options & LEG_TIMESTAMPS)) return guard->clock;
    return last->local_tsval - (__u32)(last->local_tsval_ns / NS_PER_MS);
}

/* The leg that a dial is to be: the client's options and window, so that as little as possible differs. */
static __always_inline struct held_leg packet_dial_leg(const struct packet_guard* guard,
                                                       const struct held_leg* client,
                                                       const struct held_leg* last, __u32 ifindex) {
    struct held_leg leg = {
        .local_isn = guard->isn,
        .local_tsval_ns = bpf_ktime_get_ns(),
        .local_mss = client->peer_mss && client->peer_mss < guard->mss ? client->peer_mss : guard->mss,
        .local_scale = client->peer_scale,
        .options = client->options,
        .ifindex = ifindex,
        .state = LEG_learning,
        .is_upstream = 1,
        .dial = guard->slot + 1,
    };
    leg.local_tsval = packet_dial_clock(guard, last) + (__u32)(leg.local_tsval_ns / NS_PER_MS);
    return leg;
}

/* Negative: the SYN must not leave. */
static __noinline int packet_dial_write(struct __sk_buff* skb, const struct packet* packet,
                                        const struct held_leg* leg, __u32 window) {
    union packet_dial_header after = {};
    if (!leg || bpf_skb_load_bytes(skb, packet->l4, &after, PACKET_DIAL_SYN_BYTES)) return -1;
    const __u32 before = (__u32)bpf_csum_diff(after.words, PACKET_DIAL_SYN_BYTES, NULL, 0, 0);
    if (leg->options & LEG_ECN) after.bytes[13] |= PACKET_ECN_SETUP;
    after.halves[7] = bpf_htons(window > 0xffff ? 0xffff : window);
    after.halves[11] = bpf_htons(leg->local_mss);
    if (!(leg->options & LEG_SACK)) after.halves[12] = 0x0101;
    after.words[7] = bpf_htonl(leg->local_tsval);
    if (!(leg->options & LEG_TIMESTAMPS)) {
        after.halves[13] = 0x0101;
        after.words[7] = after.words[8] = PACKET_NOPS;
    }
    after.words[9] =
        leg->options & LEG_SCALING ? bpf_htonl(0x01030300 | leg->local_scale) : (__u32)PACKET_NOPS;
    const __u64 sum = (__u64)(__u32)bpf_csum_diff(NULL, 0, after.words, PACKET_DIAL_SYN_BYTES, before) +
                      (__u16)~PACKET_DIAL_MARK;
    if (bpf_skb_store_bytes(skb, packet->l4, &after, PACKET_DIAL_SYN_BYTES, 0)) return -1;
    return (int)bpf_l4_csum_replace(skb, packet->l4 + __builtin_offsetof(struct tcphdr, check), 0,
                                    packet_fold(sum), 0);
}

/* The agent's bare SYN leaves. One that netfilter has given another source is not ours to send: connection
 * tracking would see no more of this flow, and give the port to another. */
static __noinline int packet_dial_send(struct __sk_buff* skb, const struct packet* packet,
                                       const struct packet_tuple* key) {
    const __u32 zero = 0;
    const struct hold_control* control = bpf_map_lookup_elem(&hold_control, &zero);
    const __u64 cookie = bpf_get_socket_cookie(skb);
    if (!control || !cookie || (control->dial_sockets[0] != cookie && control->dial_sockets[1] != cookie))
        return PACKET_PASSES;
    __be32 slot = 0;
    if (packet->tcp_bytes != PACKET_DIAL_SYN_BYTES ||
        bpf_skb_load_bytes(skb, packet->l4 + PACKET_DIAL_SLOT_AT, &slot, sizeof(slot)))
        return TC_ACT_SHOT;
    struct packet_guard* guard = packet_guard_of(bpf_ntohl(slot));
    if (!guard || guard->isn != packet->seq ||
        !packet_guard_moves(guard, PACKET_GUARD_asked, PACKET_GUARD_sent))
        return TC_ACT_SHOT;
    const struct held_leg* client = bpf_map_lookup_elem(&held_legs, &guard->client);
    if (client && client->state == LEG_held && hold_same(&packet->tuple, &guard->client) &&
        !bpf_map_lookup_elem(&packet_routes, key) && !packet_has_socket(skb, key, packet->is_v4)) {
        const struct held_leg* const last = bpf_map_lookup_elem(&held_legs, key);
        struct held_leg leg = packet_dial_leg(guard, client, last, skb->ifindex);
        const __u32 window = (__u32)client->peer_window << (client->peer_scale & 15);
        if (packet_dial_write(skb, packet, &leg, window) == 0 &&
            bpf_map_update_elem(&held_legs, key, &leg, BPF_ANY) == 0)
            return PACKET_PASSES;
    }
    packet_guard_moves(guard, PACKET_GUARD_sent, PACKET_GUARD_failed);
    return TC_ACT_SHOT;
}

static __noinline int packet_dial_route(const struct held_leg* from, const struct held_leg* to,
                                        const struct packet_tuple* arrives, const struct packet_tuple* other,
                                        const struct packet_guard* guard) {
    if (!from || !to || !arrives || !other || !guard) return -1;
    struct packet_route route = {.leaves = packet_tuple_reverse(other)};
    handover_route(&route, from, to);
    route.is_down = from->is_upstream;
    route.packets = !from->is_upstream; /* the first bytes */
    route.flags = PACKET_ROUTE_GUARDED;
    if (guard->is_watched) route.flags |= from->is_upstream ? PACKET_ROUTE_WATCHED : PACKET_ROUTE_JUDGED;
    route.slot = guard->slot;
    route.active_ns = bpf_ktime_get_ns();
    return (int)bpf_map_update_elem(&packet_routes, arrives, &route, BPF_NOEXIST);
}

/* Whether all is still as it was judged, and the first bytes fit into one segment. */
static __always_inline int packet_dial_fits(const struct packet_guard* guard, const struct held_leg* client,
                                            const struct held_leg* server) {
    const __u32 bytes = guard->bytes + (server->options & LEG_TIMESTAMPS ? 12 : 0);
    return bytes <= server->peer_mss && bytes <= server->local_mss &&
           client->peer_next == client->peer_isn + 1 + guard->bytes && !(client->events & LEG_FIN) &&
           legs_refuse(client, server, 0, 0, 0) == SPLICE_REASON_automatic;
}

/* Both legs are known: the flow is entered, or none of it. */
static __noinline int packet_dial_enter(const struct packet* packet, struct packet_guard* guard,
                                        struct held_leg* server) {
    const struct packet_tuple* const down = &guard->client;
    const struct packet_tuple* const up = &packet->tuple;
    struct held_leg* client = bpf_map_lookup_elem(&held_legs, down);
    struct packet_flow* flow = packet_flow_at(guard->slot);
    const __u32 zero = 0;
    struct packet_control* control = bpf_map_lookup_elem(&packet_control, &zero);
    if (!client || client->state != LEG_held || !flow || flow->state != PACKET_SLOT_filling || !control)
        return -1;
    /* First, so that what is looked at does not change. */
    client->state = LEG_taken;
    guard->client_seq = client->peer_isn + 1;
    guard->server_ack = server->local_isn + 1 + guard->bytes;
    guard->server_seq = server->peer_isn + 1;
    if (!packet_dial_fits(guard, client, server) || packet_dial_route(client, server, down, up, guard)) {
        client->state = LEG_held;
        return -1;
    }
    if (packet_dial_route(server, client, up, down, guard)) {
        bpf_map_delete_elem(&packet_routes, down);
        client->state = LEG_held;
        return -1;
    }
    server->state = LEG_taken;
    __sync_fetch_and_add(&control->flows_inserted, 1);
    __sync_val_compare_and_swap(&flow->state, PACKET_SLOT_filling, PACKET_SLOT_live);
    return 0;
}

/* Turns the headers of a packet round; `bytes`: of what follows the network header then. Negative: it cannot
 * be. */
static __always_inline int packet_dial_network(struct __sk_buff* skb, const struct packet* packet,
                                               __u32 bytes) {
    void* const network = packet_at(skb, packet->l3);
    if (packet->is_v4) {
        struct iphdr* const ip = network;
        if ((void*)(ip + 1) > packet_end(skb)) return -1;
        const __u32 source = ip->saddr;
        ip->saddr = ip->daddr;
        ip->daddr = source;
        __u64 sum = packet_put16((__u16*)&ip->tot_len, bpf_htons(sizeof(*ip) + bytes));
        sum += packet_put16((__u16*)ip + 4, bpf_htons(PACKET_HOPS << 8 | IPPROTO_TCP));
        sum += packet_put16((__u16*)ip, bpf_htons(0x4500));
        ip->check = ~packet_fold16((__u16)~ip->check + sum);
        return 0;
    }
    struct ipv6hdr* const ip = network;
    if ((void*)(ip + 1) > packet_end(skb)) return -1;
    *(__u32*)ip = bpf_htonl(6U << 28);
    ip->payload_len = bpf_htons(bytes);
    ip->hop_limit = PACKET_HOPS;
    for (int i = 0; i < 4; ++i) {
        const __u32 source = ip->saddr.in6_u.u6_addr32[i];
        ip->saddr.in6_u.u6_addr32[i] = ip->daddr.in6_u.u6_addr32[i];
        ip->daddr.in6_u.u6_addr32[i] = source;
    }
    return 0;
}

static __always_inline void packet_dial_header(union packet_dial_header* header, __u64 bytes,
                                               const struct held_leg* server, __u16 window) {
    header->words[0] = header->words[0] << 16 | header->words[0] >> 16; /* the ports */
    header->words[1] = bpf_htonl(server->local_isn + 1);
    header->words[2] = bpf_htonl(server->peer_isn + 1);
    header->bytes[13] = PACKET_ACK | PACKET_PSH;
    header->halves[7] = bpf_htons(window);
    header->halves[9] = 0;
    for (__u32 i = 5; i < 15; ++i) {
        if (i * 4 < bytes) header->words[i] = PACKET_NOPS;
    }
    if ((server->options & LEG_TIMESTAMPS) && bytes >= 32) {
        header->words[5] = bpf_htonl(PACKET_TIMESTAMPS_ALONE);
        header->words[6] = bpf_htonl(server->local_tsval);
        header->words[7] = bpf_htonl(server->peer_tsval);
    }
}

/* Makes a SYN/ACK the answer to it, with the client's first bytes. Negative: drop it. */
static __noinline int packet_dial_hello(struct __sk_buff* skb, const struct packet* packet,
                                        const struct packet_guard* guard, const struct held_leg* server) {
    const struct held_leg* client = bpf_map_lookup_elem(&held_legs, &guard->client);
    /* The indices of the last bytes, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = packet->tcp_bytes - 1;
    asm volatile("%0 &= 0x3f" : "+r"(last));
    if (last < 19 || last >= 60 || !client || !server) return -1;
    const __u64 header = last + 1;
    last = guard->bytes - 1;
    asm volatile("%0 &= 0x7ff" : "+r"(last));
    const __u64 bytes = last + 1;
    union packet_dial_header after = {};
    if (bpf_skb_change_tail(skb, packet->l4 + header + bytes, 0) ||
        bpf_skb_load_bytes(skb, packet->l4, &after, header))
        return -1;
    const __u32 before = (__u32)bpf_csum_diff(after.words, sizeof(after), NULL, 0, 0);
    packet_dial_header(&after, header, server, client->peer_window);
    const __u32 difference = (__u32)bpf_csum_diff(NULL, 0, after.words, sizeof(after), before);
    const __u32 check = packet->l4 + __builtin_offsetof(struct tcphdr, check);
    const __u64 longer = (__u64)(__u16)~bpf_htons(header) + bpf_htons(header + bytes);
    if (bpf_skb_store_bytes(skb, packet->l4, &after, header, 0) ||
        bpf_skb_store_bytes(skb, packet->l4 + header, guard->data, bytes, 0) ||
        bpf_l4_csum_replace(skb, check, 0, packet_fold((__u64)difference + guard->sum), 0) ||
        bpf_l4_csum_replace(skb, check, 0, packet_fold(longer), BPF_F_PSEUDO_HDR))
        return -1;
    return packet_dial_network(skb, packet, header + bytes);
}

static __always_inline int packet_dial_leave(struct __sk_buff* skb, __u32 l3, __u32 ifindex) {
    if (l3 == 0 && bpf_skb_change_head(skb, 14, 0) != 0) return TC_ACT_SHOT;
    return (int)bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* The SYN/ACK. */
static __always_inline int packet_dial_accept(struct __sk_buff* skb, const struct packet* packet,
                                              struct packet_guard* guard, struct held_leg* leg) {
    const __u32 l3 = packet->l3;
    const __u32 ifindex = leg->ifindex;
    const __u32 network_bytes = packet->is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
    if (packet->l4 - l3 == network_bytes && !packet->payload && !packet->is_fragment) {
        hold_learn_server(skb, packet, leg);
        if (packet_dial_enter(packet, guard, leg) == 0) {
            const int made = packet_dial_hello(skb, packet, guard, leg);
            guard->state = PACKET_GUARD_on;
            /* Else the client sends its first bytes again. */
            return made == 0 ? packet_dial_leave(skb, l3, ifindex) : TC_ACT_SHOT;
        }
    }
    bpf_map_delete_elem(&held_legs, &packet->tuple);
    guard->state = PACKET_GUARD_failed;
    /* The server forgets it: the socket that follows has the same tuple. */
    return packet_bounce(skb, packet) == 0 ? packet_dial_leave(skb, l3, ifindex) : TC_ACT_SHOT;
}

/* What comes of a dial's SYN. */
static __noinline int packet_dial_answer(struct __sk_buff* skb, const struct packet* packet,
                                         struct held_leg* leg) {
    if (!leg) return PACKET_PASSES;
    struct packet_guard* guard = packet_guard_of(leg->dial - 1);
    if (leg->state != LEG_learning || !guard || guard->isn != leg->local_isn) return PACKET_PASSES;
    const int accepts = (packet->flags & (PACKET_SYN | PACKET_ACK | PACKET_RST)) == (PACKET_SYN | PACKET_ACK);
    const int ours = packet->ack == leg->local_isn + 1;
    if (accepts && (!ours || !packet_is_intact(skb, packet))) return TC_ACT_SHOT;
    if (accepts && packet_guard_moves(guard, PACKET_GUARD_sent, PACKET_GUARD_answered))
        return packet_dial_accept(skb, packet, guard, leg);
    /* A refusal, or a server that remembers an earlier connection with this tuple. Damaged or forged, it
     * costs no more than a socket. */
    if (!packet_guard_moves(guard, PACKET_GUARD_sent, PACKET_GUARD_failed)) return PACKET_PASSES;
    bpf_map_delete_elem(&held_legs, &packet->tuple);
    return TC_ACT_SHOT;
}

#endif
