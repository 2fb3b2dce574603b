/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_WATCH_H
#define SLUICE_PACKET_WATCH_H
/*
 * The watch for a HelloRetryRequest (RFC 8446 4.1.4), after which the client sends a second ClientHello that
 * may name another server. Until the server's first record has been seen, the flow is watched; unless that is
 * a ServerHello and plainly none of these, the client's next payload goes to the agent for its judgement, and
 * waits for it.
 */
#include "packet_maps.h"
#include "packet_parse.h"

#define PACKET_TLS_HANDSHAKE 22
#define PACKET_TLS_SERVER_HELLO 2
/* One packet's worth of events: the largest that TSO makes. */
#define PACKET_PAYLOAD_EVENTS_MAX 32

/* A TLS record with the start of a ServerHello; all of it is bytes. */
struct packet_server_hello {
    __u8 type;
    __u8 version[2];
    __u8 length[2];
    __u8 message;
    __u8 message_length[3];
    __u8 message_version[2];
    __u8 random[32];
};

/* SHA-256 of "HelloRetryRequest". */
static const __u8 packet_retry_random[32] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

/* Whether this first payload of a server is certainly a ServerHello and no HelloRetryRequest. One that is cut
 * into smaller segments or records is not certain. */
static __noinline int packet_is_server_hello(struct __sk_buff* skb, const struct packet* packet) {
    struct packet_server_hello hello;
    if (packet->payload < sizeof(hello)) return 0;
    if (bpf_skb_load_bytes(skb, packet->l4 + packet->tcp_bytes, &hello, sizeof(hello)) != 0) return 0;
    const __u32 record_bytes = (__u32)hello.length[0] << 8 | hello.length[1];
    if (hello.type != PACKET_TLS_HANDSHAKE || hello.message != PACKET_TLS_SERVER_HELLO) return 0;
    if (record_bytes < sizeof(hello) - 5) return 0;
    for (int i = 0; i < 32; ++i) {
        if (hello.random[i] != packet_retry_random[i]) return 1;
    }
    return 0;
}

struct packet_copy {
    struct __sk_buff* skb;
    __u64 flow;
    __u32 slot;
    __u32 seq;
    __u32 offset;
    __u32 left;
};

static long packet_copy_next(__u32 index, struct packet_copy* copy) {
    if (copy->left == 0) return 1;
    struct packet_payload* const event = bpf_ringbuf_reserve(&packet_events, sizeof(*event), 0);
    if (!event) return 1;
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = copy->left - 1;
    if (last >= PACKET_PAYLOAD_BYTES) last = PACKET_PAYLOAD_BYTES - 1;
    asm volatile("%0 &= 0x7ff" : "+r"(last));
    const __u64 bytes = last + 1;
    event->kind = PACKET_EVENT_payload;
    event->slot = copy->slot;
    event->flow = copy->flow;
    event->seq = copy->seq;
    event->bytes = bytes;
    if (bpf_skb_load_bytes(copy->skb, copy->offset, event->data, bytes) != 0) {
        bpf_ringbuf_discard(event, 0);
        return 1;
    }
    bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
    copy->seq += bytes;
    copy->offset += bytes;
    copy->left -= bytes;
    return 0;
}

/* Copies payload to the agent. What finds no room will be retransmitted. */
static __noinline int packet_copy_payload(struct __sk_buff* skb, const struct packet* packet, __u32 slot) {
    const struct packet_flow* const flow = packet_flow_at(slot);
    if (!flow) return 0;
    struct packet_copy copy = {.skb = skb,
                               .flow = flow->id,
                               .slot = slot,
                               .seq = packet->seq,
                               .offset = packet->l4 + packet->tcp_bytes,
                               .left = packet->payload};
    return bpf_loop(PACKET_PAYLOAD_EVENTS_MAX, packet_copy_next, &copy, 0) > 0;
}

/* Payload on a route that is WATCHED or JUDGED. 0: it is not to be forwarded. */
static __noinline int packet_watch(struct __sk_buff* skb, const struct packet* packet,
                                   struct packet_route* route) {
    if (route->flags & PACKET_ROUTE_JUDGED) {
        packet_copy_payload(skb, packet, route->slot);
        return 0;
    }
    /* The record's first byte is where nothing has been sent before; what overtook it comes again. */
    if (packet->seq != route->seq_next) return 0;
    if (!packet_is_server_hello(skb, packet)) {
        struct packet_route* const other = packet_other_route(route);
        if (!other) return 0;
        __sync_fetch_and_or(&other->flags, PACKET_ROUTE_JUDGED);
    }
    __sync_fetch_and_and(&route->flags, ~PACKET_ROUTE_WATCHED);
    return 1;
}

#endif
