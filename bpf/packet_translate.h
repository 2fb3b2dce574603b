/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_TRANSLATE_H
#define SLUICE_PACKET_TRANSLATE_H
/*
 * Makes a packet of one leg a packet of the other, in place. Headers are written directly, and the difference
 * that this makes to the TCP checksum is summed up as we go and applied once, by the kernel, which alone
 * knows whether the checksum is still to be computed (CHECKSUM_PARTIAL, as in every TSO packet).
 */
#include "packet_parse.h"

#define PACKET_OPTIONS_BYTES_MAX 40
#define PACKET_OPTION_END 0
#define PACKET_OPTION_NOP 1
#define PACKET_OPTION_SACK 5
#define PACKET_OPTION_TIMESTAMPS 8
#define PACKET_TIMESTAMPS_BYTES 10
#define PACKET_SACK_BYTES_MAX 34 /* four blocks */

/* What all but a few segments carry: NOP, NOP, timestamps. */
#define PACKET_TIMESTAMPS_ALONE 0x0101080a

/* The difference of two values in one's complement; sums of these are what checksums move by. */
static __always_inline __u64 packet_difference(__u32 from, __u32 to) {
    return (__u64)(__u32)~from + to;
}

static __always_inline __u32 packet_fold(__u64 sum) {
    sum = (sum >> 32) + (sum & 0xffffffff);
    return (__u32)((sum >> 32) + (sum & 0xffffffff));
}

static __always_inline __u16 packet_fold16(__u64 sum) {
    sum = packet_fold(sum);
    sum = (sum >> 16) + (sum & 0xffff);
    return (__u16)((sum >> 16) + (sum & 0xffff));
}

/* All in network order. */
static __always_inline __u64 packet_put32(__u32* field, __u32 value) {
    const __u64 difference = packet_difference(*field, value);
    *field = value;
    return difference;
}

static __always_inline __u64 packet_put16(__u16* field, __u16 value) {
    const __u64 difference = (__u64)(__u16) ~*field + value;
    *field = value;
    return difference;
}

/* At least `floor`, which is a moment of the handover. Not for ever: after 24 days it would seem to lie in
 * the future. */
static __always_inline __u32 packet_not_before(const struct packet_route* route, __u32 floor,
                                               __u32 timestamp) {
    const int early = (__s32)(timestamp - floor) < 0 && !(route->flags & PACKET_ROUTE_SETTLED);
    return unlikely(early) ? floor : timestamp;
}

/* A clock that ticks slowly may be behind what our socket said a moment ago, and what waited in that socket
 * is injected while later packets of its sender may already pass; PAWS would drop either. So for its first
 * minutes the floor goes along with the clock, as long as that makes no leaps, which may be damage. */
#define PACKET_FLOOR_STEP_MAX 1000 /* ticks, mostly of a millisecond */

static __always_inline __u32 packet_tsval(struct packet_route* route, __u32 tsval) {
    const __u32 translated = tsval + route->tsval_delta;
    const __s32 ahead = (__s32)(translated - route->tsval_floor);
    if (ahead > 0 && ahead <= PACKET_FLOOR_STEP_MAX && !(route->flags & PACKET_ROUTE_SETTLED))
        route->tsval_floor = translated;
    return packet_not_before(route, route->tsval_floor, translated);
}

/* What the sender echoes may be older than the other leg. A server that has not seen the end of its
 * handshake, since our first segment was lost, believes no echo from before its SYN/ACK (Linux 6.14,
 * tcp_check_req). */
static __always_inline __u32 packet_tsecr(const struct packet_route* route, __u32 tsecr) {
    return tsecr ? packet_not_before(route, route->tsecr_floor, tsecr + route->tsecr_delta) : 0;
}

static __always_inline __u16 packet_window(const struct packet_route* route, __u16 window) {
    const __u32 translated = (__u32)window << (route->scale_from & 15) >> (route->scale_to & 15);
    return translated > 0xffff ? 0xffff : (__u16)translated;
}

union packet_options {
    __u8 bytes[64]; /* indices are masked: the verifier follows no sum of option lengths */
    __u32 words[16];
};

static __always_inline __u32 packet_options_read32(const union packet_options* options, __u32 at) {
    return (__u32)options->bytes[at & 63] << 24 | (__u32)options->bytes[(at + 1) & 63] << 16 |
           (__u32)options->bytes[(at + 2) & 63] << 8 | options->bytes[(at + 3) & 63];
}

static __always_inline void packet_options_write32(union packet_options* options, __u32 at, __u32 value) {
    options->bytes[at & 63] = value >> 24;
    options->bytes[(at + 1) & 63] = value >> 16;
    options->bytes[(at + 2) & 63] = value >> 8;
    options->bytes[(at + 3) & 63] = value;
}

struct packet_options_walk {
    union packet_options options;
    struct packet_route* route;
    __u32 at;
    __u32 bytes;
};

/* One option, at any alignment. A callback, so that the verifier looks at one round and not at all that may
 * be. */
static long packet_translate_option(__u32 index, struct packet_options_walk* walk) {
    union packet_options* const options = &walk->options;
    const __u32 at = walk->at;
    if (at >= walk->bytes) return 1;
    const __u32 kind = options->bytes[at & 63];
    if (kind == PACKET_OPTION_END) return 1;
    const __u32 length = kind == PACKET_OPTION_NOP ? 1 : options->bytes[(at + 1) & 63];
    if (length == 0 || length > walk->bytes - at) return 1;
    if (kind == PACKET_OPTION_TIMESTAMPS && length == PACKET_TIMESTAMPS_BYTES) {
        packet_options_write32(options, at + 2,
                               packet_tsval(walk->route, packet_options_read32(options, at + 2)));
        packet_options_write32(options, at + 6,
                               packet_tsecr(walk->route, packet_options_read32(options, at + 6)));
    } else if (kind == PACKET_OPTION_SACK) {
        for (__u32 edge = 2; edge + 4 <= PACKET_SACK_BYTES_MAX; edge += 4) {
            if (edge + 4 > length) break;
            packet_options_write32(options, at + edge,
                                   packet_options_read32(options, at + edge) + walk->route->ack_delta);
        }
    }
    walk->at = at + length;
    return 0;
}

/* Any options but the usual: copied, translated and put back. Adds to `difference`. Negative: the packet is
 * not what its header says. Packet pointers are void afterwards. */
static __noinline int packet_translate_options(struct __sk_buff* skb, const struct packet* packet,
                                               struct packet_route* route, __u64* difference) {
    struct packet_options_walk walk = {.route = route};
    const __u32 offset = packet->l4 + sizeof(struct tcphdr);
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = packet->tcp_bytes - sizeof(struct tcphdr) - 1;
    asm volatile("%0 &= 0x3f" : "+r"(last));
    if (last >= PACKET_OPTIONS_BYTES_MAX) return -1;
    const __u64 bytes = last + 1;
    if (bpf_skb_load_bytes(skb, offset, &walk.options, bytes) != 0) return -1;
    walk.bytes = bytes;
    const union packet_options before = walk.options;
    bpf_loop(PACKET_OPTIONS_BYTES_MAX, packet_translate_option, &walk, 0);
    for (int i = 0; i < PACKET_OPTIONS_BYTES_MAX / 4; ++i) {
        *difference += packet_difference(before.words[i], walk.options.words[i]);
    }
    return (int)bpf_skb_store_bytes(skb, offset, &walk.options, bytes, 0);
}

/* New addresses; the difference that they make to the pseudo header. */
static __always_inline __u64 packet_put_addresses_v4(struct iphdr* ip, const struct packet_tuple* tuple) {
    __u64 difference = packet_put32(&ip->saddr, tuple->source[3]);
    difference += packet_put32(&ip->daddr, tuple->destination[3]);
    ip->check = ~packet_fold16((__u16)~ip->check + difference);
    return difference;
}

static __always_inline __u64 packet_put_addresses_v6(struct ipv6hdr* ip, const struct packet_tuple* tuple) {
    __u64 difference = 0;
    for (int i = 0; i < 4; ++i) {
        difference += packet_put32(&ip->saddr.in6_u.u6_addr32[i], tuple->source[i]);
        difference += packet_put32(&ip->daddr.in6_u.u6_addr32[i], tuple->destination[i]);
    }
    return difference;
}

/* One hop less, and the addresses of `leaves` unless it is NULL. `pseudo`: the difference to the pseudo
 * header; `bare`: what the IPv6 header itself changed by, which nothing in it makes up for. Negative: no such
 * header. */
static __always_inline int packet_translate_network(struct __sk_buff* skb, const struct packet* packet,
                                                    const struct packet_tuple* leaves, __u64* pseudo,
                                                    __u64* bare) {
    void* const network = packet_at(skb, packet->l3);
    if (packet->is_v4) {
        struct iphdr* const ip = network;
        if ((void*)(ip + 1) > packet_end(skb)) return -1;
        --ip->ttl;
        const __u32 check = (__u32)ip->check + bpf_htons(0x0100);
        ip->check = check + (check >= 0xffff);
        if (unlikely(leaves)) *pseudo = packet_put_addresses_v4(ip, leaves);
        return 0;
    }
    struct ipv6hdr* const ip = network;
    if ((void*)(ip + 1) > packet_end(skb)) return -1;
    __u32* const word = (__u32*)ip + 1;
    *bare = packet_put32(word, *word - bpf_htonl(1));
    if (unlikely(leaves)) *pseudo = packet_put_addresses_v6(ip, leaves);
    *bare += *pseudo;
    return 0;
}

static __always_inline __u64 packet_translate_tcp(struct tcphdr* tcp, const struct packet* packet,
                                                  struct packet_route* route) {
    __u64 difference = packet_put32(&tcp->seq, bpf_htonl(packet->seq + route->seq_delta));
    if (likely(packet->flags & PACKET_ACK))
        difference += packet_put32(&tcp->ack_seq, bpf_htonl(packet->ack + route->ack_delta));
    if (likely(!(packet->flags & PACKET_SYN)))
        difference += packet_put16(&tcp->window, bpf_htons(packet_window(route, packet->window)));
    if (unlikely(route->flags & PACKET_ROUTE_READDRESSED)) {
        difference += packet_put16(&tcp->source, route->leaves.source_port);
        difference += packet_put16(&tcp->dest, route->leaves.destination_port);
    }
    return difference;
}

/* Negative: the packet is not what its header says, or could not be changed; drop it. */
static __always_inline int packet_translate(struct __sk_buff* skb, const struct packet* packet,
                                            struct packet_route* route) {
    __u64 pseudo = 0;
    __u64 bare = 0;
    const struct packet_tuple* const leaves = route->flags & PACKET_ROUTE_READDRESSED ? &route->leaves : NULL;
    if (packet_translate_network(skb, packet, leaves, &pseudo, &bare) != 0) return -1;

    struct tcphdr* const tcp = packet_at(skb, packet->l4);
    if ((void*)(tcp + 1) > packet_end(skb)) return -1;
    __u64 difference = packet_translate_tcp(tcp, packet, route);
    if (packet->tcp_bytes != sizeof(*tcp)) {
        __u32* const option = (__u32*)(tcp + 1);
        if (likely(packet->tcp_bytes == sizeof(*tcp) + 12 && (void*)(option + 3) <= packet_end(skb) &&
                   option[0] == bpf_htonl(PACKET_TIMESTAMPS_ALONE))) {
            difference += packet_put32(&option[1], bpf_htonl(packet_tsval(route, bpf_ntohl(option[1]))));
            difference += packet_put32(&option[2], bpf_htonl(packet_tsecr(route, bpf_ntohl(option[2]))));
        } else if (packet_translate_options(skb, packet, route, &difference) != 0) {
            return -1;
        }
    }

    const __u32 check = packet->l4 + __builtin_offsetof(struct tcphdr, check);
    if (bpf_l4_csum_replace(skb, check, 0, packet_fold(difference), 0) != 0) return -1;
    if (unlikely(pseudo) && bpf_l4_csum_replace(skb, check, 0, packet_fold(pseudo), BPF_F_PSEUDO_HDR) != 0)
        return -1;
    /* The sum of the whole packet, if the device computed one (CHECKSUM_COMPLETE). An IPv6 header has no
     * checksum of its own that would leave it as it was. */
    if (!packet->is_v4) bpf_csum_update(skb, packet_fold(bare));
    return 0;
}

#endif
