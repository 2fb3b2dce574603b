/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_HOLD_H
#define SLUICE_PACKET_HOLD_H
/*
 * The life of a leg before the splice. A leg comes into the map when the gateway's own handshake packet
 * leaves: the listener's SYN/ACK (so that only connections which the agent will be given are known), or the
 * SYN of the agent's upstream socket. From then on its packets are followed both ways, and while it is held
 * the gateway's pure ACKs of payload are dropped on their way out. The first payload that the gateway sends
 * itself ends the hold: whoever answers for a peer also answers to it.
 *
 * Options that bind a connection to its end (MPTCP, TCP-AO, MD5, fast open) need no look: our listener and
 * our upstream sockets do not agree to any of them.
 */
#include <bpf/bpf_core_read.h>

#include "hold_abi.h"
#include "packet_cookie.h"
#include "packet_deferred.h"
#include "packet_dial.h"
#include "packet_leg.h"
#include "packet_maps.h"
#include "packet_parse.h"

/* What is read of the kernel's structures (include/net/request_sock.h, inet_sock.h, linux/tcp.h). */
struct request_sock___hold {
    __u16 mss;
} __attribute__((preserve_access_index));
struct inet_request_sock___hold {
    struct request_sock___hold req;
    __u16 snd_wscale : 4;
} __attribute__((preserve_access_index));
struct tcp_request_sock___hold {
    struct inet_request_sock___hold req;
} __attribute__((preserve_access_index));

/* The tuple of the packets that a socket expects. */
static __always_inline struct packet_tuple hold_expected(struct bpf_sock* sk) {
    struct packet_tuple out = {};
    if (sk->family == 2) {
        out.source[2] = out.destination[2] = bpf_htonl(0xffff);
        out.source[3] = sk->dst_ip4;
        out.destination[3] = sk->src_ip4;
        /* Keeps the compiler from merging reads of the two branches into one at a computed offset, which the
         * verifier forbids. */
        asm volatile("" ::: "memory");
    } else {
        out.source[0] = sk->dst_ip6[0];
        out.source[1] = sk->dst_ip6[1];
        out.source[2] = sk->dst_ip6[2];
        out.source[3] = sk->dst_ip6[3];
        out.destination[0] = sk->src_ip6[0];
        out.destination[1] = sk->src_ip6[1];
        out.destination[2] = sk->src_ip6[2];
        out.destination[3] = sk->src_ip6[3];
    }
    out.source_port = sk->dst_port;
    out.destination_port = bpf_htons((__u16)sk->src_port);
    return out;
}

/* Whether the client's first bytes may be read without a socket. One that is made later has the tuple of the
 * packets (which REDIRECT has changed), and does not know of ECN. */
static __always_inline int deferred_may_be(struct bpf_sock* request, const struct held_leg* leg,
                                           const struct packet_tuple* key) {
    if (leg->options & LEG_ECN) return 0;
    const struct packet_tuple expected = hold_expected(request);
    return hold_same(&expected, key) && deferred_server(key) != NULL;
}

/* The client's leg begins: our listener answers a SYN. With SYN cookies there is no request to read, and the
 * leg stays unknown. */
static __noinline int hold_answer(struct __sk_buff* skb, const struct packet* packet,
                                  const struct packet_tuple* key) {
    const __u32 zero = 0;
    const struct hold_control* control = bpf_map_lookup_elem(&hold_control, &zero);
    struct bpf_sock* sk = skb->sk;
    if (!control || !control->listener_port || !sk) return PACKET_PASSES;
    struct bpf_sock* listener = bpf_get_listener_sock(sk);
    if (!listener) return PACKET_PASSES;
    /* A client of the proxy is answered by the gateway before its flow begins: nothing is to be held. */
    const __u32 port = listener->src_port;
    const int is_proxy = port == control->proxy_ports[0] || port == control->proxy_ports[1];
    if (port != control->listener_port && !is_proxy) return PACKET_PASSES;
    const struct tcp_request_sock___hold* request = (void*)bpf_skc_to_tcp_request_sock(sk);
    if (!request) return PACKET_PASSES;
    const struct held_leg* known = bpf_map_lookup_elem(&held_legs, key);
    if (known && known->local_isn == packet->seq && known->peer_isn == packet->ack - 1)
        return PACKET_PASSES; /* again */

    const struct hold_options options = hold_options(skb, packet);
    struct held_leg leg = {
        .peer_isn = packet->ack - 1,
        .peer_next = packet->ack,
        .peer_ack = packet->seq,
        .peer_tsval = options.tsecr,
        .peer_mss = request->req.req.mss,
        .local_isn = packet->seq,
        .local_ack = packet->ack,
        .local_tsval = options.tsval,
        .local_mss = options.mss,
        .local_scale = options.scale,
        .options = options.has | (packet->flags & PACKET_ECE ? LEG_ECN : 0),
        .ifindex = skb->ifindex,
        .state = is_proxy ? LEG_open : LEG_held,
    };
    if (options.has & LEG_SCALING) leg.peer_scale = BPF_CORE_READ_BITFIELD(&request->req, snd_wscale);
    leg.peer_tsval_ns = leg.local_tsval_ns = bpf_ktime_get_ns();
    if (control->deferred_rings && !is_proxy && deferred_may_be(sk, &leg, key))
        leg.deferred = DEFERRED_expected;
    bpf_map_update_elem(&held_legs, key, &leg, BPF_ANY);
    return PACKET_PASSES;
}

union hold_option_bytes {
    __u8 bytes[64]; /* indices are masked, for the verifier */
    __u32 words[16];
};

/* Takes out of a SYN what the client has not offered, so that the server does not agree to it either; our own
 * socket learns the outcome from the SYN/ACK, as ever. `keep`: LEG_TIMESTAMPS ...; `mss`: the largest to
 * announce. */
static __noinline int hold_mirror(struct __sk_buff* skb, const struct packet* packet,
                                  const struct hold_options* options, __u32 keep, __u32 mss) {
    union hold_option_bytes before = {};
    union hold_option_bytes after;
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = packet->tcp_bytes - sizeof(struct tcphdr) - 1;
    asm volatile("%0 &= 0x3f" : "+r"(last));
    if (last >= HOLD_OPTIONS_BYTES_MAX) return 0;
    const __u64 bytes = last + 1;
    if (bpf_skb_load_bytes(skb, packet->l4 + sizeof(struct tcphdr), &before, bytes)) return 0;
    after = before;
    const struct {
        __u8 at;
        __u8 bytes;
        __u8 option;
    } removable[] = {{options->timestamps_at, 10, LEG_TIMESTAMPS},
                     {options->sack_at, 2, LEG_SACK},
                     {options->scale_at, 3, LEG_SCALING}};
    for (int i = 0; i < 3; ++i) {
        if (!removable[i].at || (keep & removable[i].option)) continue;
        for (int k = 0; k < 10; ++k) {
            if (k >= removable[i].bytes) break;
            after.bytes[(removable[i].at - sizeof(struct tcphdr) + k) & 63] = 1; /* NOP */
        }
    }
    if (options->mss_at && mss && mss < options->mss) {
        const __u32 at = options->mss_at - sizeof(struct tcphdr);
        after.bytes[(at + 2) & 63] = mss >> 8;
        after.bytes[(at + 3) & 63] = mss;
    }
    const __s64 difference = bpf_csum_diff(before.words, sizeof(before), after.words, sizeof(after), 0);
    if (difference == 0) return 0;
    bpf_skb_store_bytes(skb, packet->l4 + sizeof(struct tcphdr), &after, bytes, 0);
    bpf_l4_csum_replace(skb, packet->l4 + __builtin_offsetof(struct tcphdr, check), 0, difference, 0);
    return 0;
}

/* A SYN of this host: the upstream leg of one of our flows begins, if it is a socket that the agent
 * announced, or if it has the addresses and ports of a client's leg that is known. */
static __noinline int hold_dial(struct __sk_buff* skb, const struct packet* packet,
                                const struct packet_tuple* key) {
    struct bpf_sock* sk = skb->sk;
    if (!sk) return PACKET_PASSES;
    sk = bpf_sk_fullsock(sk);
    if (!sk) return PACKET_PASSES;
    const struct packet_tuple expected = hold_expected(sk);
    struct packet_tuple downstream = packet_tuple_reverse(&expected);
    const struct packet_tuple* announced = bpf_sk_storage_get(&held_dials, sk, NULL, 0);
    if (announced) downstream = *announced;
    const struct held_leg* client = bpf_map_lookup_elem(&held_legs, &downstream);
    /* Its hold may be over: what has been acknowledged to it, the agent passes on. */
    if (!client || (client->state != LEG_held && client->state != LEG_open)) {
        /* What an earlier flow with this tuple has left would silence the socket. */
        bpf_map_delete_elem(&held_legs, key);
        return PACKET_PASSES;
    }
    if (!hold_same(&expected, key)) bpf_map_update_elem(&held_names, &expected, key, BPF_ANY);

    const struct hold_options options = hold_options(skb, packet);
    struct held_leg leg = {
        .local_isn = packet->seq,
        .local_tsval = options.tsval,
        .local_mss = options.mss,
        .local_scale = options.scale,
        .options = options.has & client->options,
        .ifindex = skb->ifindex,
        .state = LEG_learning,
        .is_upstream = 1,
    };
    if (client->peer_mss && client->peer_mss < leg.local_mss) leg.local_mss = client->peer_mss;
    leg.local_tsval_ns = bpf_ktime_get_ns();
    hold_mirror(skb, packet, &options, leg.options, leg.local_mss);
    if (!(leg.options & LEG_SCALING)) leg.local_scale = 0;
    bpf_map_update_elem(&held_legs, key, &leg, BPF_ANY);
    return PACKET_PASSES;
}

/* A packet without a route, at ingress. */
static __always_inline int packet_hold_ingress(struct __sk_buff* skb, const struct packet* packet) {
    struct held_leg* leg = bpf_map_lookup_elem(&held_legs, &packet->tuple);
    if (!leg) {
        packet_mark_cookie(skb, packet);
        return PACKET_PASSES;
    }
    if (unlikely(leg->dial)) return packet_dial_answer(skb, packet, leg);
    if (leg->deferred && leg->state == LEG_held) return deferred_arrive(skb, packet, leg);
    hold_arrive(skb, packet, leg);
    return PACKET_PASSES;
}

/* Sent by a program that writes headers itself: the RST of `sluice flows kill`. Of a leg that is taken
 * nothing else may leave, neither by its socket in its last moments nor, for a packet that comes when that is
 * gone, the RST of the kernel's own. */
static __always_inline int hold_is_raw(struct __sk_buff* skb) {
    struct bpf_sock* sk = skb->sk;
    if (sk) sk = bpf_sk_fullsock(sk);
    return sk && sk->protocol == IPPROTO_RAW;
}

/* A packet of a local socket leaves. */
static __always_inline int hold_leave(struct __sk_buff* skb, const struct packet* packet,
                                      struct held_leg* leg) {
    if (leg->state == LEG_taken) return hold_is_raw(skb) ? PACKET_PASSES : TC_ACT_SHOT;
    if (packet->flags & PACKET_RST) leg->events |= LEG_RST;
    if (packet->payload > 0 || (packet->flags & PACKET_FIN)) {
        leg->events |= packet->flags & PACKET_FIN ? LEG_SPOKE | LEG_FINISHED : LEG_SPOKE;
        if (leg->state == LEG_held && !leg->is_upstream) leg->state = LEG_open;
    }
    if ((__s32)(packet->ack - (leg->peer_isn + 1)) > 0) {
        if (leg->state == LEG_held && leg->payload_ns &&
            bpf_ktime_get_ns() - leg->payload_ns > HOLD_MS_MAX * NS_PER_MS)
            leg->state = LEG_open;
        const int is_bare = !packet->payload && !(packet->flags & (PACKET_FIN | PACKET_RST));
        if (leg->state == LEG_held && is_bare) {
            ++leg->acks_dropped;
            return TC_ACT_SHOT;
        }
        leg->events |= LEG_ACKNOWLEDGED;
        leg->local_ack = packet->ack;
    }
    if (!(leg->options & LEG_TIMESTAMPS)) return PACKET_PASSES;
    const struct hold_options options = hold_options(skb, packet);
    if (!options.timestamps_at) return PACKET_PASSES;
    leg->local_tsval = options.tsval;
    leg->local_tsval_ns = bpf_ktime_get_ns();
    return PACKET_PASSES;
}

/* A packet of one of this host's own sockets, at egress. Not on loopback, which carries what the agent
 * injects on behalf of the peers. */
static __always_inline int packet_hold_egress(struct __sk_buff* skb, const struct packet* packet) {
    const struct packet_tuple key = packet_tuple_reverse(&packet->tuple);
    if (packet->flags & PACKET_SYN) {
        if (packet->flags & PACKET_ACK) return hold_answer(skb, packet, &key);
        return hold_is_raw(skb) ? packet_dial_send(skb, packet, &key) : hold_dial(skb, packet, &key);
    }
    struct held_leg* leg = bpf_map_lookup_elem(&held_legs, &key);
    return leg ? hold_leave(skb, packet, leg) : PACKET_PASSES;
}

/* Word by word: the verifier wants the context at constant offsets. */
#define COPY_OUT(to, from)                                                                    \
    _Pragma("unroll") for (__u32 i = 0; i < sizeof(to) / 4; ++i)((volatile __u32*)&(to))[i] = \
        ((const __u32*)&(from))[i]

/* The handover's first half: both legs, if the flow qualifies; then no packet of their sockets leaves any
 * more. Else both are released, and an ACK may leave when their sockets next have a reason to send one. */
SEC("syscall")
int take_legs(struct take_legs* request) {
    struct packet_tuple down = request->downstream;
    struct packet_tuple up = request->upstream;
    const struct packet_tuple* renamed = bpf_map_lookup_elem(&held_names, &up);
    if (renamed) up = *renamed;
    struct held_leg* client = bpf_map_lookup_elem(&held_legs, &down);
    struct held_leg* server = bpf_map_lookup_elem(&held_legs, &up);
    request->reason = SPLICE_REASON_leg_unknown;
    const int known = client && server && client->state >= LEG_open && server->state >= LEG_open;
    if (known && request->request == LEGS_take) {
        /* First, so that what is looked at does not change. */
        client->state = server->state = LEG_taken;
        request->reason = legs_refuse(client, server, request->sent, request->asked, request->answered);
        if (request->reason == SPLICE_REASON_automatic) {
            COPY_OUT(request->upstream, up);
            COPY_OUT(request->client, *client);
            COPY_OUT(request->server, *server);
            return 0;
        }
    }
    if (client && (request->request == LEGS_deliver || request->request == LEGS_silence)) {
        client->deferred = DEFERRED_none;
        if (request->request == LEGS_silence) client->state = LEG_taken;
        return 0;
    }
    if (client) {
        client->state = LEG_open;
        COPY_OUT(request->client, *client);
    }
    if (server && server->state != LEG_learning) server->state = LEG_open;
    return 0;
}

#endif
