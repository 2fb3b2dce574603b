#pragma once
// One TCP segment in an Ethernet frame, as bytes and back, and a run of the packet splice's program with it.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include <cstring>
#include <string>
#include <string_view>

#include "tests/kernel/packet_lab.h"

namespace sluice::test {

inline constexpr std::size_t ethernet_bytes = 14;

struct Segment {
    packet_tuple tuple{};
    std::uint8_t hops = 64;
    std::uint8_t flags = TH_ACK;
    std::uint32_t seq = 1000;
    std::uint32_t ack = 2000;
    std::uint16_t window = 100;
    std::string options = {};  // of TCP; a multiple of 4 bytes
    std::string payload = {};
    std::string network_options = {};        // of IPv4, or IPv6 extension headers; a multiple of 4 or 8
    std::uint8_t next_header = IPPROTO_TCP;  // of IPv6: the first extension header's type
    bool more_fragments = false;
};

inline std::uint16_t sum_of(std::string_view bytes, std::uint32_t sum = 0) {
    for (std::size_t at = 0; at < bytes.size(); ++at)
        sum += static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[at])) << (at % 2 == 0 ? 8 : 0);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

template <class Header>
std::string_view bytes_of(const Header& header) {
    return {reinterpret_cast<const char*>(&header), sizeof header};
}

// RFC 9293 3.1: of TCP header, options and payload, with the pseudo header of the family.
inline std::uint16_t tcp_sum(const packet_tuple& tuple, std::string_view tcp) {
    std::uint32_t sum = IPPROTO_TCP + static_cast<std::uint32_t>(tcp.size());
    sum += sum_of(datapath::packet_is_v4(tuple) ? bytes_of(tuple.source[3]) : bytes_of(tuple.source));
    sum +=
        sum_of(datapath::packet_is_v4(tuple) ? bytes_of(tuple.destination[3]) : bytes_of(tuple.destination));
    return sum_of(tcp, sum);
}

inline std::string network_header(const Segment& segment, std::size_t tcp_bytes) {
    if (datapath::packet_is_v4(segment.tuple)) {
        iphdr ip{};
        ip.version = 4;
        ip.ihl = static_cast<unsigned>((sizeof ip + segment.network_options.size()) / 4) & 15;
        ip.tot_len =
            htons(static_cast<std::uint16_t>(sizeof ip + segment.network_options.size() + tcp_bytes));
        ip.frag_off = htons(segment.more_fragments ? 0x2000 : 0x4000);
        ip.ttl = segment.hops;
        ip.protocol = IPPROTO_TCP;
        ip.saddr = segment.tuple.source[3];
        ip.daddr = segment.tuple.destination[3];
        ip.check =
            htons(static_cast<std::uint16_t>(~sum_of(std::string(bytes_of(ip)) + segment.network_options)));
        return std::string(bytes_of(ip)) + segment.network_options;
    }
    ip6_hdr ip{};
    ip.ip6_flow = htonl(6U << 28);
    ip.ip6_plen = htons(static_cast<std::uint16_t>(segment.network_options.size() + tcp_bytes));
    ip.ip6_nxt = segment.next_header;
    ip.ip6_hlim = segment.hops;
    std::memcpy(&ip.ip6_src, segment.tuple.source, 16);
    std::memcpy(&ip.ip6_dst, segment.tuple.destination, 16);
    return std::string(bytes_of(ip)) + segment.network_options;
}

inline std::string frame_of(const Segment& segment) {
    tcphdr tcp{};
    tcp.source = segment.tuple.source_port;
    tcp.dest = segment.tuple.destination_port;
    tcp.seq = htonl(segment.seq);
    tcp.ack_seq = htonl(segment.ack);
    tcp.doff = static_cast<std::uint16_t>((sizeof tcp + segment.options.size()) / 4) & 15;
    tcp.th_flags = segment.flags;
    tcp.window = htons(segment.window);
    const std::string rest = segment.options + segment.payload;
    tcp.check = htons(static_cast<std::uint16_t>(~tcp_sum(segment.tuple, std::string(bytes_of(tcp)) + rest)));
    const std::string whole = std::string(bytes_of(tcp)) + rest;
    std::string frame(ethernet_bytes, '\0');
    frame[12] = datapath::packet_is_v4(segment.tuple) ? '\x08' : '\x86';
    frame[13] = datapath::packet_is_v4(segment.tuple) ? '\x00' : '\xdd';
    return frame + network_header(segment, whole.size()) + whole;
}

// Back again. Fails the test when a checksum is wrong. `network_option_bytes`: as it was built.
inline Segment parse_frame(const std::string& frame, std::size_t network_option_bytes = 0) {
    Segment segment;
    const bool v4 = frame[12] == '\x08';
    std::size_t at = ethernet_bytes;
    if (v4) {
        iphdr ip{};
        std::memcpy(&ip, &frame[at], sizeof ip);
        EXPECT_EQ(sum_of(std::string_view(frame).substr(at, ip.ihl * 4)), 0xffff)
            << "the IP header's checksum";
        datapath::packet_address(segment.tuple.source, &ip.saddr, true);
        datapath::packet_address(segment.tuple.destination, &ip.daddr, true);
        segment.hops = ip.ttl;
        at += sizeof ip;
    } else {
        ip6_hdr ip{};
        std::memcpy(&ip, &frame[at], sizeof ip);
        datapath::packet_address(segment.tuple.source, &ip.ip6_src, false);
        datapath::packet_address(segment.tuple.destination, &ip.ip6_dst, false);
        segment.hops = ip.ip6_hlim;
        at += sizeof ip;
    }
    segment.network_options = frame.substr(at, network_option_bytes);
    at += network_option_bytes;
    tcphdr tcp{};
    std::memcpy(&tcp, &frame[at], sizeof tcp);
    segment.tuple.source_port = tcp.source;
    segment.tuple.destination_port = tcp.dest;
    segment.seq = ntohl(tcp.seq);
    segment.ack = ntohl(tcp.ack_seq);
    segment.flags = tcp.th_flags;
    segment.window = ntohs(tcp.window);
    segment.options = frame.substr(at + sizeof tcp, tcp.doff * 4 - sizeof tcp);
    segment.payload = frame.substr(at + tcp.doff * 4);
    EXPECT_EQ(tcp_sum(segment.tuple, std::string_view(frame).substr(at)), 0xffff) << "TCP's checksum";
    return segment;
}

struct Ran {
    int action = 0;  // TC_ACT_...
    std::string frame;
};

inline Ran run_ingress(PacketLab& lab, const std::string& frame) {
    std::string out(frame.size() + 256, '\0');
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<__u32>(out.size());
    EXPECT_EQ(bpf_prog_test_run_opts(lab.splice().program_fd("packet_ethernet_in"), &options), 0);
    out.resize(options.data_size_out);
    return {.action = static_cast<int>(options.retval), .frame = out};
}

}  // namespace sluice::test
