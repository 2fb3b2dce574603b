/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_CHECKSUM_H
#define SLUICE_PACKET_CHECKSUM_H
/*
 * Whether a segment has arrived as it was sent. What is only translated need not be asked: its receiver
 * notices, as the checksum moves by what we change and by no more. But what we ourselves act upon, for the
 * rest of the flow's life, must be no accident.
 */
#include "packet_parse.h"
#include "packet_translate.h"

#define PACKET_CHECKED_BYTES_MAX 128

union packet_checked {
    __u8 bytes[PACKET_CHECKED_BYTES_MAX];
    __u32 words[PACKET_CHECKED_BYTES_MAX / 4];
};

/* Beside a sum: the checksum is still to be computed (CHECKSUM_PARTIAL), as between two namespaces, and that
 * of the pseudo header. */
#define PACKET_SUM_PARTIAL 0x10000

/* Of the pseudo header and the segment's first `bytes`, in one's complement, as words in memory. Negative:
 * they are more than that buffer takes, or than there are. */
static __noinline int packet_sum(struct __sk_buff* skb, const struct packet* packet, __u32 bytes) {
    union packet_checked tcp = {};
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = bytes - 1;
    if (!packet || last >= PACKET_CHECKED_BYTES_MAX) return -1;
    asm volatile("%0 &= 0x7f" : "+r"(last));
    if (bpf_skb_load_bytes(skb, packet->l4, &tcp, last + 1) != 0) return -1;
    /* An IPv4 address as ::ffff:a.b.c.d has the sum of a.b.c.d: 0xffff is 0. */
    __u64 pseudo = (__u64)bpf_htonl(packet->tcp_bytes + packet->payload) + bpf_htonl(IPPROTO_TCP);
    for (int i = 0; i < 4; ++i) {
        pseudo += (__u64)packet->tuple.source[i] + packet->tuple.destination[i];
    }
    const __u64 sum = pseudo + (__u32)bpf_csum_diff(NULL, 0, tcp.words, sizeof(tcp), 0);
    const int is_partial = ((__u16*)tcp.bytes)[8] == packet_fold16(pseudo);
    return packet_fold16(sum) | (is_partial ? PACKET_SUM_PARTIAL : 0);
}

/* Of a segment with its header as long as that buffer at most (SYN/ACK, RST); a longer one is not intact. */
static __always_inline int packet_is_intact(struct __sk_buff* skb, const struct packet* packet) {
    const int sum = packet_sum(skb, packet, packet->tcp_bytes + packet->payload);
    return sum >= 0 && ((sum & 0xffff) == 0xffff || sum & PACKET_SUM_PARTIAL);
}

#endif
