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

/* Of a segment with its header as long as that buffer at most (SYN/ACK, RST); a longer one is not intact. */
static __noinline int packet_is_intact(struct __sk_buff* skb, const struct packet* packet) {
    union packet_checked tcp = {};
    const __u32 l4_bytes = packet->tcp_bytes + packet->payload;
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = l4_bytes - 1;
    if (last >= PACKET_CHECKED_BYTES_MAX) return 0;
    asm volatile("%0 &= 0x7f" : "+r"(last));
    if (bpf_skb_load_bytes(skb, packet->l4, &tcp, last + 1) != 0) return 0;
    /* An IPv4 address as ::ffff:a.b.c.d has the sum of a.b.c.d: 0xffff is 0. */
    __u64 pseudo = (__u64)bpf_htonl(l4_bytes) + bpf_htonl(IPPROTO_TCP);
    for (int i = 0; i < 4; ++i) {
        pseudo += (__u64)packet->tuple.source[i] + packet->tuple.destination[i];
    }
    const __u64 sum = pseudo + (__u32)bpf_csum_diff(NULL, 0, tcp.words, sizeof(tcp), 0);
    if (packet_fold16(sum) == 0xffff) return 1;
    /* Still to be computed (CHECKSUM_PARTIAL), as between two namespaces: the sum of the pseudo header. */
    return ((__u16*)tcp.bytes)[8] == packet_fold16(pseudo);
}

#endif
