/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_BOUNCE_H
#define SLUICE_PACKET_BOUNCE_H
/*
 * The answer to whoever still talks in a killed flow: his own empty segment, turned round into the RST that
 * he believes, as its sequence number is the one that he has just said he expects. So no end of a killed flow
 * hangs, even if the first RST was lost, or came while acknowledgements were under way (then it draws a
 * challenge ACK, RFC 5961 3.2).
 */
#include "packet_maps.h"
#include "packet_translate.h"

static __always_inline int packet_bounces(const struct packet* packet) {
    const __u8 flags = packet->flags & (PACKET_SYN | PACKET_RST | PACKET_ACK);
    return flags == PACKET_ACK && packet->payload == 0 && !packet->is_fragment;
}

/* Negative: drop it. */
static __noinline int packet_bounce(struct __sk_buff* skb, const struct packet* packet) {
    __u64 pseudo = 0;
    __u64 bare = 0;
    const struct packet_tuple back = packet_tuple_reverse(&packet->tuple);
    if (packet_translate_network(skb, packet, &back, &pseudo, &bare) != 0) return -1;
    struct tcphdr* const tcp = packet_at(skb, packet->l4);
    if ((void*)(tcp + 1) > packet_end(skb)) return -1;
    __u16* const flags = (__u16*)tcp + 6; /* with the header's length in the upper bits */
    __u64 difference = packet_put32(&tcp->seq, tcp->ack_seq);
    difference += packet_put32(&tcp->ack_seq, 0);
    difference += packet_put16(flags, (*flags & bpf_htons(0xf000)) | bpf_htons(PACKET_RST));
    difference += packet_put16(&tcp->window, 0);
    difference += packet_put16(&tcp->source, back.source_port);
    difference += packet_put16(&tcp->dest, back.destination_port);
    const __u32 check = packet->l4 + __builtin_offsetof(struct tcphdr, check);
    if (bpf_l4_csum_replace(skb, check, 0, packet_fold(difference), 0) != 0) return -1;
    if (bpf_l4_csum_replace(skb, check, 0, packet_fold(pseudo), BPF_F_PSEUDO_HDR) != 0) return -1;
    if (!packet->is_v4) bpf_csum_update(skb, packet_fold(bare));
    return 0;
}

#endif
