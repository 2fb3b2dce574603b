#include "tests/support/name_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "tests/support/socket_address.h"

namespace sluice::test {
namespace {

constexpr std::size_t header_bytes = 12;
constexpr std::uint16_t type_a = 1;
constexpr std::uint16_t type_cname = 5;
constexpr std::uint16_t type_aaaa = 28;

void append_u16(std::string& out, unsigned value) {
    out += static_cast<char>(value >> 8);
    out += static_cast<char>(value);
}

std::string name_bytes(std::string_view name) {
    std::string out;
    while (!name.empty()) {
        const std::string_view label = name.substr(0, name.find('.'));
        out += static_cast<char>(label.size());
        out += label;
        name.remove_prefix(std::min(label.size() + 1, name.size()));
    }
    return out + '\0';
}

std::string record(const std::string& owner, std::uint16_t type, unsigned ttl_s, std::string_view data) {
    std::string out = owner;
    append_u16(out, type);
    append_u16(out, 1);
    append_u16(out, ttl_s >> 16);
    append_u16(out, ttl_s);
    append_u16(out, static_cast<unsigned>(data.size()));
    return out.append(data);
}

struct Asked {
    std::string name;
    std::string question;  // as it stands in the message
    unsigned type = 0;
};

Asked read_question(std::string_view query) {
    Asked asked;
    std::size_t at = header_bytes;
    while (at < query.size() && query[at] != 0) {
        const auto length = static_cast<unsigned char>(query[at]);
        asked.name += (asked.name.empty() ? "" : ".") + std::string(query.substr(at + 1, length));
        at += 1 + length;
    }
    asked.question = query.substr(header_bytes, at + 5 - header_bytes);
    if (at + 5 <= query.size()) asked.type = static_cast<unsigned char>(query[at + 2]);
    return asked;
}

}  // namespace

std::string dns_query(std::string_view name, bool v6, std::uint16_t id) {
    std::string out;
    for (const unsigned field : {unsigned{id}, 0x0100u, 1u, 0u, 0u, 0u})
        append_u16(out, field);
    out += name_bytes(name);
    append_u16(out, v6 ? type_aaaa : type_a);
    append_u16(out, 1);
    return out;
}

std::string dns_message(std::string_view query, const DnsReply& reply) {
    if (query.size() < header_bytes) return {};
    const Asked asked = read_question(query);
    const std::uint16_t type = asked.type == type_aaaa ? type_aaaa : type_a;
    std::string owner = "\xc0\x0c";
    std::string records;
    unsigned count = 0;
    if (!reply.alias.empty()) {
        records += record(owner, type_cname, reply.ttl_s, name_bytes(reply.alias));
        owner = name_bytes(reply.alias);
        ++count;
    }
    for (const std::string& text : reply.addresses) {
        const auto address = policy::IpAddress::parse(text);
        if (!address || address->is_v4() != (type == type_a)) continue;
        const auto bytes = address->bytes();
        records +=
            record(owner, type, reply.ttl_s, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        ++count;
    }
    std::string out(query.substr(0, 2));
    for (const unsigned field : {0x8180u | reply.rcode, 1u, count, 0u, 0u})
        append_u16(out, field);
    return out + asked.question + records;
}

namespace {

int datagram_socket(const Netns* netns, const policy::Endpoint& local, const timeval& deadline) {
    const auto make = [&] {
        return ::socket(local.address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    };
    const int fd = netns != nullptr ? netns->run(make) : make();
    SocketAddress address(local);
    if (::bind(fd, address.data(), address.size) != 0)
        throw std::system_error(errno, std::generic_category(), "a datagram socket");
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    return fd;
}

constexpr timeval query_deadline{.tv_sec = 5, .tv_usec = 0};

}  // namespace

void send_datagram(const Netns& netns, const policy::Endpoint& from, const policy::Endpoint& to,
                   std::string_view payload) {
    const int fd = datagram_socket(&netns, from, query_deadline);
    SocketAddress address(to);
    ::sendto(fd, payload.data(), payload.size(), 0, address.data(), address.size);
    ::close(fd);
}

std::string ask_name_server(const Netns& netns, const policy::Endpoint& server, std::string_view name) {
    const policy::Endpoint any{
        server.address.is_v4() ? policy::IpAddress() : policy::IpAddress::parse("::").value(), 0};
    const int fd = datagram_socket(&netns, any, query_deadline);
    const std::string query = dns_query(name);
    SocketAddress address(server);
    ::sendto(fd, query.data(), query.size(), 0, address.data(), address.size);
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    ::close(fd);
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

NameServer::NameServer(const Netns* netns, const std::string& address, std::uint16_t port, Answer answer)
    : socket_(-1), answer_(std::move(answer)) {
    constexpr timeval tick{.tv_sec = 0, .tv_usec = 50'000};  // to see that it is to stop
    socket_ = datagram_socket(netns, {policy::IpAddress::parse(address).value(), port}, tick);
    SocketAddress local;
    ::getsockname(socket_, local.data(), &local.size);
    port_ = local.endpoint().port;
    thread_ = std::jthread([this] { serve(); });
}

NameServer::~NameServer() {
    stopping_ = true;
    thread_.join();
    ::close(socket_);
}

void NameServer::serve() {
    std::array<char, 4096> buffer;
    while (!stopping_) {
        SocketAddress from;
        const ssize_t got = ::recvfrom(socket_, buffer.data(), buffer.size(), 0, from.data(), &from.size);
        if (got <= 0) continue;
        ++questions_;
        const std::string_view query(buffer.data(), static_cast<std::size_t>(got));
        const Asked asked = read_question(query);
        const DnsReply reply = answer_(asked.name, asked.type == type_aaaa);
        if (reply.silent) continue;
        const std::string message = dns_message(query, reply);
        ::sendto(socket_, message.data(), message.size(), 0, from.data(), from.size);
    }
}

}  // namespace sluice::test
