/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_WATCH_H
#define SLUICE_PACKET_WATCH_H
/*
 * The watch for a HelloRetryRequest (RFC 8446 4.1.4), after which the client sends a second ClientHello that
 * may name another server. Of a client's payload nothing but its first hello passes until the server's first
 * record has been seen, in as many segments as it comes. Warnings and change_cipher_spec in front of that
 * answer nothing. If it is no HelloRetryRequest, the watch is over. Else the client's next payload goes to
 * the agent for its judgement, and waits for it.
 */
#include "packet_leg.h"
#include "packet_maps.h"
#include "packet_parse.h"

#define PACKET_TLS_CHANGE_CIPHER_SPEC 20
#define PACKET_TLS_ALERT 21
#define PACKET_TLS_HANDSHAKE 22
#define PACKET_TLS_WARNING 1
#define PACKET_TLS_SERVER_HELLO 2
/* Where they are in a record. */
#define PACKET_TLS_LENGTH_AT 3
#define PACKET_TLS_MESSAGE_AT 5
#define PACKET_TLS_RANDOM_AT 11
#define PACKET_TLS_RANDOM_END 43
/* Of packet_route.watched, beside the number of bytes that have been seen. */
#define PACKET_WATCHED_BYTES 0x3f
#define PACKET_WATCHED_LONG 0x40  /* the upper byte of the record's length is not 0 */
#define PACKET_WATCHED_OTHER 0x80 /* no handshake record; later: not the random of a HelloRetryRequest */
#define PACKET_WATCHED_SHORT 0x40 /* with OTHER, behind its length: that is 1 */
#define PACKET_SKIPPED_MAX 127

/* One packet's worth of pieces: the largest that TSO makes. */
#define PACKET_HELLO_PIECES_MAX 32

/* SHA-256 of "HelloRetryRequest". */
static const __u8 packet_retry_random[32] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

enum packet_watched {
    PACKET_WATCHED_more,      /* it goes on in another segment */
    PACKET_WATCHED_skipped,   /* a warning, or change_cipher_spec: the next record may tell */
    PACKET_WATCHED_answer,    /* a ServerHello, a fatal alert, or not TLS at all: the first hello stands */
    PACKET_WATCHED_uncertain, /* or a HelloRetryRequest for certain */
    PACKET_WATCHED_gap,       /* what overtook the record comes again */
};

/* An alert is two bytes, or two records of one each; change_cipher_spec is one byte. */
static __always_inline __u32 packet_watch_byte_other(__u32 at, __u8 byte, __u8* watched) {
    if (at == PACKET_TLS_LENGTH_AT && byte != 0) return PACKET_WATCHED_uncertain;
    if (at == PACKET_TLS_LENGTH_AT + 1) {
        if (byte != 1 && byte != 2) return PACKET_WATCHED_uncertain;
        if (byte == 1) *watched |= PACKET_WATCHED_SHORT;
    }
    if (at == PACKET_TLS_MESSAGE_AT && *watched & PACKET_WATCHED_SHORT) return PACKET_WATCHED_skipped;
    if (at == PACKET_TLS_MESSAGE_AT && byte != PACKET_TLS_WARNING) return PACKET_WATCHED_answer;
    return at > PACKET_TLS_MESSAGE_AT ? PACKET_WATCHED_skipped : PACKET_WATCHED_more;
}

/* What the record is, by this byte of it. */
static __always_inline __u32 packet_watch_byte(__u32 at, __u8 byte, __u8* watched) {
    if (at == 0 && (byte == PACKET_TLS_ALERT || byte == PACKET_TLS_CHANGE_CIPHER_SPEC)) {
        *watched |= PACKET_WATCHED_OTHER;
        return PACKET_WATCHED_more;
    }
    if (at == 0 && byte != PACKET_TLS_HANDSHAKE) return PACKET_WATCHED_answer;
    if (at < PACKET_TLS_RANDOM_AT && *watched & PACKET_WATCHED_OTHER)
        return packet_watch_byte_other(at, byte, watched);
    if (at == PACKET_TLS_MESSAGE_AT && byte != PACKET_TLS_SERVER_HELLO) return PACKET_WATCHED_answer;
    if (at == PACKET_TLS_LENGTH_AT && byte != 0) *watched |= PACKET_WATCHED_LONG;
    /* A ServerHello in several records. */
    if (at == PACKET_TLS_LENGTH_AT + 1 && !(*watched & PACKET_WATCHED_LONG) &&
        byte < PACKET_TLS_RANDOM_END - PACKET_TLS_MESSAGE_AT)
        return PACKET_WATCHED_uncertain;
    if (at >= PACKET_TLS_RANDOM_AT && byte != packet_retry_random[(at - PACKET_TLS_RANDOM_AT) & 31])
        *watched |= PACKET_WATCHED_OTHER;
    if (at != PACKET_TLS_RANDOM_END - 1) return PACKET_WATCHED_more;
    return *watched & PACKET_WATCHED_OTHER ? PACKET_WATCHED_answer : PACKET_WATCHED_uncertain;
}

struct packet_watching {
    struct __sk_buff* skb;
    __u32 offset; /* of the payload in the packet */
    __u32 bytes;  /* of it */
    __s32 from;   /* where it begins, counted from the record's first byte */
    __u32 result; /* enum packet_watched */
    __u32 skipped;
    __u8 watched;
};

static long packet_watch_next(__u32 index, struct packet_watching* w) {
    __u8 byte = 0;
    const __u32 at = w->watched & PACKET_WATCHED_BYTES;
    const __s32 here = (__s32)at - w->from;
    if (here < 0) w->result = PACKET_WATCHED_gap;
    if (here < 0 || here >= (__s32)w->bytes) return 1;
    if (bpf_skb_load_bytes(w->skb, w->offset + (__u32)here, &byte, 1) != 0) {
        w->result = PACKET_WATCHED_uncertain;
        return 1;
    }
    w->result = packet_watch_byte(at, byte, &w->watched);
    ++w->watched;
    if (w->result != PACKET_WATCHED_skipped) return w->result != PACKET_WATCHED_more;
    w->result = PACKET_WATCHED_more;
    w->watched = 0;
    w->from -= (__s32)at + 1;
    w->skipped += at + 1;
    if (w->skipped <= PACKET_SKIPPED_MAX) return 0;
    w->result = PACKET_WATCHED_uncertain; /* whoever warns so often has something else in mind */
    return 1;
}

/* Looks at a segment of the server's, whose payload begins `from` bytes behind the start of its stream. */
static __noinline __u32 packet_watch_record(struct __sk_buff* skb, const struct packet* packet,
                                            struct packet_route* route, __s32 from) {
    if (!packet || !route) return PACKET_WATCHED_uncertain;
    struct packet_watching w = {.skb = skb,
                                .offset = packet->l4 + packet->tcp_bytes,
                                .bytes = packet->payload,
                                .from = from - (__s32)route->skipped,
                                .skipped = route->skipped,
                                .watched = route->watched};
    bpf_loop(PACKET_SKIPPED_MAX + PACKET_TLS_RANDOM_END, packet_watch_next, &w, 0);
    if (w.result == PACKET_WATCHED_gap) return w.result;
    route->watched = w.watched;
    route->skipped = w.skipped & PACKET_SKIPPED_MAX;
    return w.result;
}

struct packet_hello_copy {
    struct __sk_buff* skb;
    struct packet_hello_head head;
    __u32 offset;
    __u32 left;
};

static long packet_copy_piece(__u32 index, struct packet_hello_copy* copy) {
    if (copy->left == 0) return 1;
    struct packet_hello_piece* const piece = bpf_ringbuf_reserve(&packet_hellos, sizeof(*piece), 0);
    if (!piece) return 1;
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = copy->left - 1;
    if (last >= PACKET_HELLO_PIECE_BYTES) last = PACKET_HELLO_PIECE_BYTES - 1;
    asm volatile("%0 &= 0x7ff" : "+r"(last));
    const __u64 bytes = last + 1;
    piece->head = copy->head;
    piece->head.bytes = bytes;
    if (bpf_skb_load_bytes(copy->skb, copy->offset, piece->data, bytes) != 0) {
        bpf_ringbuf_discard(piece, 0);
        return 1;
    }
    bpf_ringbuf_submit(piece, BPF_RB_FORCE_WAKEUP);
    copy->head.seq += bytes;
    copy->offset += bytes;
    copy->left -= bytes;
    return 0;
}

/* Copies payload to the agent. What finds no room will be retransmitted. */
static __noinline int packet_copy_hello(struct __sk_buff* skb, const struct packet* packet, __u32 slot) {
    const struct packet_flow* const flow = packet_flow_at(slot);
    if (!flow) return 0;
    const struct hold_options options = hold_options(skb, packet);
    struct packet_hello_copy copy = {.skb = skb,
                                     .head = {.flow = flow->id,
                                              .slot = slot,
                                              .seq = packet->seq,
                                              .ack = packet->ack,
                                              .tsval = options.tsval,
                                              .tsecr = options.tsecr,
                                              .window = packet->window,
                                              .has_timestamps = options.has & LEG_TIMESTAMPS},
                                     .offset = packet->l4 + packet->tcp_bytes,
                                     .left = packet->payload};
    return bpf_loop(PACKET_HELLO_PIECES_MAX, packet_copy_piece, &copy, 0) > 0;
}

/* Payload of the client's on a route that is JUDGED. 0: it is not to be forwarded. */
static __always_inline int packet_watch_up(struct __sk_buff* skb, const struct packet* packet,
                                           const struct packet_route* route,
                                           const struct packet_route* other) {
    if (route->flags & PACKET_ROUTE_GUARDED) {
        const struct packet_guard* const guard = packet_guard_of(route->slot);
        const __u32 end = packet->seq + packet->payload;
        /* The first hello once more. */
        if (guard && (__s32)(end - (guard->client_seq + guard->bytes)) <= 0) return 1;
    }
    if (!(other->flags & PACKET_ROUTE_WATCHED)) packet_copy_hello(skb, packet, route->slot);
    return 0;
}

/* Payload of the server's on a route that is WATCHED. 0: it is not to be forwarded. */
static __always_inline int packet_watch_down(struct __sk_buff* skb, const struct packet* packet,
                                             struct packet_route* route, struct packet_route* other) {
    const __u32 start = other->ack_start + other->ack_delta; /* of the server's stream */
    switch (packet_watch_record(skb, packet, route, (__s32)(packet->seq - start))) {
        case PACKET_WATCHED_gap:
            return 0;
        case PACKET_WATCHED_more:
        case PACKET_WATCHED_skipped: /* not so */
            return 1;
        case PACKET_WATCHED_answer:
            __sync_fetch_and_and(&other->flags, ~PACKET_ROUTE_JUDGED);
            break;
        case PACKET_WATCHED_uncertain:
            break;
    }
    __sync_fetch_and_and(&route->flags, ~PACKET_ROUTE_WATCHED);
    return 1;
}

/* Payload on a route that is WATCHED or JUDGED. 0: it is not to be forwarded. */
static __noinline int packet_watch(struct __sk_buff* skb, const struct packet* packet,
                                   struct packet_route* route) {
    struct packet_route* const other = packet_other_route(route);
    if (!other) return 0;
    if (route->flags & PACKET_ROUTE_JUDGED) return packet_watch_up(skb, packet, route, other);
    return packet_watch_down(skb, packet, route, other);
}

#endif
