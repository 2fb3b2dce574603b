#include "userspace/datapath/dns_watch.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "userspace/datapath/capture.h"

namespace sluice::datapath {
namespace {

constexpr int message_config = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
constexpr int message_packet = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET;
// For a burst of answers; what does not fit is lost, and the names are asked for.
constexpr int receive_buffer_bytes = 1 << 20;

[[noreturn]] void fail(int error) {
    throw CaptureError("netfilter's log, group " + std::to_string(dns_log_group) +
                       " (dns.observe): " + std::strerror(error));
}

// One request, and the kernel's answer to it.
void configure(int socket, int attribute, const void* data, int bytes) {
    const std::unique_ptr<nl_msg, decltype(&nlmsg_free)> message(
        nlmsg_alloc_simple(message_config, NLM_F_REQUEST | NLM_F_ACK), nlmsg_free);
    nfgenmsg header{.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(dns_log_group)};
    if (!message || nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO) < 0 ||
        nla_put(message.get(), attribute, bytes, data) < 0) {
        fail(ENOMEM);
    }
    const nlmsghdr* request = nlmsg_hdr(message.get());
    std::array<char, 4096> answer;
    if (::send(socket, request, request->nlmsg_len, 0) < 0) fail(errno);
    // Packets may come in between.
    for (;;) {
        const ssize_t got = ::recv(socket, answer.data(), answer.size(), 0);
        if (got < 0 && errno == ENOBUFS) continue;
        if (got < 0) fail(errno);
        nlmsghdr reply{};
        std::memcpy(&reply, answer.data(), sizeof reply);
        if (reply.nlmsg_type != NLMSG_ERROR) continue;
        nlmsgerr error{};
        std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof error);
        if (error.error != 0) fail(-error.error);
        return;
    }
}

std::uint16_t u16_at(const unsigned char* bytes) {
    return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}

constexpr std::size_t udp_header_bytes = 8;

}  // namespace

std::pair<const unsigned char*, std::size_t> udp_payload(const unsigned char* packet, std::size_t bytes) {
    constexpr std::pair<const unsigned char*, std::size_t> none{nullptr, 0};
    constexpr std::size_t v4_header_bytes_min = 20;
    constexpr std::size_t v6_header_bytes = 40;
    if (bytes < v4_header_bytes_min) return none;
    std::size_t header = v6_header_bytes;
    unsigned protocol = packet[6];
    if (packet[0] >> 4 == 4) {
        header = static_cast<std::size_t>(packet[0] & 15) * 4;
        protocol = packet[9];
        const bool is_fragment = (u16_at(packet + 6) & 0x3fff) != 0;  // more of them, or an offset
        if (header < v4_header_bytes_min || is_fragment) return none;
    } else if (packet[0] >> 4 != 6) {
        return none;
    }
    if (protocol != IPPROTO_UDP || bytes < header || bytes - header < udp_header_bytes) return none;
    const std::size_t length = u16_at(packet + header + 4);
    if (length < udp_header_bytes || length > bytes - header) return none;
    return {packet + header + udp_header_bytes, length - udp_header_bytes};
}

DnsWatch::DnsWatch() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (!socket_ || ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        fail(errno);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    const nfulnl_msg_config_cmd bind_group{.command = NFULNL_CFG_CMD_BIND};
    configure(socket_.get(), NFULA_CFG_CMD, &bind_group, sizeof bind_group);
    nfulnl_msg_config_mode copy{};
    copy.copy_range = htonl(dns_log_bytes);
    copy.copy_mode = NFULNL_COPY_PACKET;
    configure(socket_.get(), NFULA_CFG_MODE, &copy, sizeof copy);
    // Each at once: the client will dial what it has just been told.
    const std::uint32_t threshold = htonl(1);
    configure(socket_.get(), NFULA_CFG_QTHRESH, &threshold, sizeof threshold);
}

void DnsWatch::read(const std::function<void(const unsigned char*, std::size_t)>& use) {
    alignas(nlmsghdr) std::array<unsigned char, 64 * 1024> buffer;
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && errno == ENOBUFS) continue;  // some were lost
        if (got <= 0) return;
        int left = static_cast<int>(got);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(message, left);
             message = nlmsg_next(message, &left)) {
            if (message->nlmsg_type != message_packet) continue;
            nlattr* payload = nlmsg_find_attr(message, sizeof(nfgenmsg), NFULA_PAYLOAD);
            if (payload == nullptr) continue;
            const auto [data, bytes] = udp_payload(static_cast<const unsigned char*>(nla_data(payload)),
                                                   static_cast<std::size_t>(nla_len(payload)));
            if (data != nullptr) use(data, bytes);
        }
    }
}

}  // namespace sluice::datapath
