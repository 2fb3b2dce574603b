// SPDX-License-Identifier: GPL-2.0
// Splice mode `sockmap`: each segment that a leg receives goes to the other leg's socket, without the agent.
//
// The kernel has no backpressure on this path: what is redirected has been acknowledged and is charged to
// nobody, so the program redirects no more than the other socket's send buffer has room for. What it does not
// redirect it passes (SK_PASS): then it is charged to the socket that received it, whose window closes. No
// byte is ever dropped.
//
// Kernel structures are declared here, as far as they are needed, and relocated at load (CO-RE): building
// does not depend on the kernel of the build machine.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "sockmap_abi.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock;
struct sk_buff {
    struct sock* sk;
    unsigned int truesize;
    char cb[48];
};
struct tcp_skb_cb {
    __u32 seq;
};
struct sock {
    int sk_wmem_queued;
    int sk_sndbuf;
    void* sk_user_data;
};
struct sk_buff_head {
    __u32 qlen;
};
struct sk_psock {
    struct sk_buff_head ingress_skb;
};
struct tcp_sock {
    __u32 copied_seq;
    __u32 write_seq;
};
#pragma clang attribute pop

// Sizes are set at load.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);    // a socket's cookie
    __type(value, __u32);  // its slot in the arrays below
} slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);  // the agent reads counters without a system call
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct sockmap_leg);
} legs SEC(".maps");

// Targets: no program runs for a socket that is only here.
struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} peers SEC(".maps");

// Senders: `carry` is attached to this map.
struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 16);
} events SEC(".maps");

// sk_skb_adjust_room() removes at most this much in one call.
#define TRIM_BYTES_MAX 4095
// More than the largest sk_buff holds: segments that waited together have been merged (tcp_try_coalesce) into
// up to 17 fragments of 64 KiB, and the agent may have read any part of that.
#define TRIM_STEPS_MAX 300

static void tell(struct sockmap_leg* leg, __u32 slot) {
    // A full ring: the next segment tries again, and the agent looks at every leg now and then.
    if (!leg->told) leg->told = bpf_ringbuf_output(&events, &slot, sizeof(slot), 0) == 0;
}

// What waits in the queue of the socket that has received this: to be sent by it, or passed to its reader.
static __u32 waiting(struct __sk_buff* skb) {
    const struct sk_buff* kernel_skb = (const struct sk_buff*)skb;
    const struct sock* sock = 0;
    unsigned long psock = 0;
    __u32 segments = 0;
    if (bpf_core_read(&sock, sizeof(sock), &kernel_skb->sk)) return 0;
    if (bpf_core_read(&psock, sizeof(psock), &sock->sk_user_data)) return 0;
    psock &= ~7UL;  // flags (SK_USER_DATA_PTRMASK)
    if (!psock) return 0;
    const struct sk_psock* queue = (const struct sk_psock*)psock;
    if (bpf_core_read(&segments, sizeof(segments), &queue->ingress_skb.qlen)) return 0;
    return segments;
}

static __u32 memory_of(struct __sk_buff* skb) {
    const struct sk_buff* kernel_skb = (const struct sk_buff*)skb;
    __u32 truesize = 0;
    bpf_core_read(&truesize, sizeof(truesize), &kernel_skb->truesize);  // of a live sk_buff: cannot fail
    return truesize;
}

static int pass(struct __sk_buff* skb, struct sockmap_leg* leg, __u32 slot) {
    leg->passing = 1;
    if (waiting(skb)) {
        leg->stray += memory_of(skb);
        leg->strays += 1;
    } else {
        leg->stray = leg->strays = 0;
    }
    // With a full barrier: the agent resets `told`, then reads `passed`.
    __sync_fetch_and_add(&leg->passed, skb->len);
    tell(leg, slot);
    return SK_PASS;
}

// Nobody may read on: the agent resets both sides.
static int give_up(struct sockmap_leg* leg, __u32 slot) {
    leg->passing = 1;
    leg->state = SOCKMAP_LEG_broken;
    tell(leg, slot);
    return SK_PASS;
}

// The stream position that the receiver expects; before the first segment, where the socket's last reader
// stopped.
static int start(struct __sk_buff* skb, struct sockmap_leg* leg) {
    struct bpf_sock* sock = skb->sk;
    if (!sock) return -1;
    struct tcp_sock* tcp = bpf_skc_to_tcp_sock(sock);
    if (!tcp) return -1;
    leg->next_seq = tcp->copied_seq;
    return 0;
}

struct trimming {
    struct __sk_buff* skb;
    __u32 left;
};

static long trim_step(__u32 index, struct trimming* trimming) {
    (void)index;
    const __u32 left = trimming->left;
    if (left == 0) return 1;
    const __u32 step = left < TRIM_BYTES_MAX ? left : TRIM_BYTES_MAX;
    if (bpf_skb_adjust_room(trimming->skb, -(__s32)step, 0, 0)) return 1;
    trimming->left = left - step;
    return 0;
}

// A repacketised retransmission begins before the expected byte: the kernel queues it whole, and
// tcp_recvmsg() skips what was read before. Here that is our task. False: the stream cannot be continued.
static int trim(struct __sk_buff* skb, struct sockmap_leg* leg) {
    const struct sk_buff* kernel_skb = (const struct sk_buff*)skb;
    const struct tcp_skb_cb* cb = (const struct tcp_skb_cb*)&kernel_skb->cb;
    __u32 seq = 0;
    if (bpf_core_read(&seq, sizeof(seq), &cb->seq)) return 0;
    const __u32 bytes = skb->len;
    const __u32 overlap = leg->next_seq - seq;
    if (overlap >= bytes) return 0;  // nothing new, or a gap (then it is huge)
    leg->next_seq = seq + bytes;
    if (overlap == 0) return 1;
    struct trimming trimming = {.skb = skb, .left = overlap};
    bpf_loop(TRIM_STEPS_MAX, trim_step, &trimming, 0);
    return trimming.left == 0;
}

// How much of what was redirected the receiver's socket has not taken: at most this. In two generations, so
// that a queue that is never quite empty is not held against the flow for ever.
static __u32 backlog(struct sockmap_leg* leg, __u32 write_seq) {
    const __u32 carried = (__u32)(leg->redirected + leg->consumed);
    if (!leg->based) leg->base = write_seq - carried;
    leg->based = 1;
    const __u32 written = write_seq - leg->base;
    if (written == carried) {
        leg->held_old = leg->held_young = 0;
        leg->mark = carried;
    } else if ((__s32)(written - leg->mark) >= 0) {
        leg->held_old = leg->held_young;
        leg->held_young = 0;
        leg->mark = carried;
    }
    return leg->held_old + leg->held_young;
}

// Whether the other socket takes this segment, and all that was redirected before it, without waiting.
static int has_room(struct sockmap_leg* leg, struct tcp_sock* tcp, __u32 truesize) {
    const struct sock* sock = (const struct sock*)tcp;
    // In this order: what leaves the backlog meanwhile is counted twice rather than not at all.
    const __u32 held = backlog(leg, tcp->write_seq) + truesize + SOCKMAP_SEGMENT_OVERHEAD_BYTES;
    const __s32 room = sock->sk_sndbuf - sock->sk_wmem_queued;
    return held <= SOCKMAP_BACKLOG_BYTES_MAX && (__s32)held <= room;
}

SEC("sk_skb/stream_verdict")
int carry(struct __sk_buff* skb) {
    const __u64 cookie = bpf_get_socket_cookie(skb);
    const __u32* slot_found = bpf_map_lookup_elem(&slots, &cookie);
    if (!slot_found) return SK_PASS;
    const __u32 slot = *slot_found;
    struct sockmap_leg* leg = bpf_map_lookup_elem(&legs, &slot);
    if (!leg) return SK_PASS;
    // A bare FIN has done its work before it comes here (tcp_fin). Redirected it would break the other socket
    // (EPIPE); passed, while bytes wait to be sent by this one, it would be queued behind them and break this
    // one (sk_psock_backlog takes its 0 bytes for an error). There is nothing in it to lose.
    if (skb->len == 0) return SK_DROP;

    if (!leg->started && start(skb, leg)) return give_up(leg, slot);
    leg->started = 1;
    if (!trim(skb, leg)) return give_up(leg, slot);
    const __u32 bytes = skb->len;
    // The way back: the agent has carried all that was passed, and can read nothing before more is.
    if (leg->passing && leg->passed != leg->consumed) return pass(skb, leg, slot);
    leg->passing = 0;
    leg->stray = leg->strays = 0;

    // While the agent carries one direction it carries both, so that no segment is passed behind bytes that
    // the same socket has yet to send (a stray).
    const __u32 peer = leg->peer;
    const struct sockmap_leg* other = bpf_map_lookup_elem(&legs, &peer);
    if (!other || other->passed != other->consumed) return pass(skb, leg, slot);

    const __u32 truesize = memory_of(skb);
    struct bpf_sock* target = bpf_map_lookup_elem(&peers, &peer);
    if (!target) return pass(skb, leg, slot);
    struct tcp_sock* tcp = bpf_skc_to_tcp_sock(target);
    const int fits = tcp && has_room(leg, tcp, truesize);
    bpf_sk_release(target);
    if (!fits) return pass(skb, leg, slot);

    if (bpf_sk_redirect_map(skb, &peers, peer, 0) != SK_PASS) return pass(skb, leg, slot);
    leg->held_young += truesize + SOCKMAP_SEGMENT_OVERHEAD_BYTES;
    leg->redirected += bytes;
    return SK_PASS;
}

// Attached to each socket (SO_ATTACH_BPF): runs before TCP takes a segment, also one that arrives while the
// socket is in use.
SEC("socket")
int hold_back(struct __sk_buff* skb) {
    const __u32 whole = 0xffffffff;
    const __u64 cookie = bpf_get_socket_cookie(skb);
    const __u32* slot = bpf_map_lookup_elem(&slots, &cookie);
    if (!slot) return whole;
    const struct sockmap_leg* leg = bpf_map_lookup_elem(&legs, slot);
    if (!leg || leg->stray <= SOCKMAP_STRAY_BYTES_MAX) return whole;
    if ((__u64)leg->stray * waiting(skb) <= (__u64)SOCKMAP_STRAY_BYTES_MAX * leg->strays) return whole;
    __u8 offset = 0;  // of the payload, in words, in the upper half
    if (bpf_skb_load_bytes(skb, 12, &offset, sizeof(offset))) return whole;
    return skb->len > (offset >> 4) * 4u ? 0 : whole;
}

char LICENSE[] SEC("license") = "GPL";
