#include "userspace/datapath/neighbours.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sluice::datapath {
namespace {

constexpr std::size_t answer_bytes_max = 4096;  // one route, or one neighbour
// The address was told by the neighbour, or by an administrator. Not NUD_NOARP: such a link has none.
constexpr unsigned has_address = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;

// One request and its answer, which the kernel has written before send() returns.
class Conversation {
  public:
    Conversation(int socket, std::uint32_t& sequence) : socket_(socket), sequence_(sequence) {}

    // Asks what the kernel has under `address`, an attribute of this type; null: nothing, or no answer. The
    // answer is valid until the next question.
    template <typename Body>
    nlmsghdr* ask(int type, int expected, const Body& body, int attribute, const policy::IpAddress& address) {
        struct {
            nlmsghdr header;
            Body body;
            rtattr attribute;
            std::array<std::uint8_t, 16> address;
        } question{};
        static_assert(sizeof(Body) % NLMSG_ALIGNTO == 0);
        const auto bytes = address.bytes();
        question.body = body;
        question.attribute.rta_type = static_cast<unsigned short>(attribute);
        question.attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(bytes.size()));
        std::ranges::copy(bytes, question.address.begin());
        question.header.nlmsg_type = static_cast<__u16>(type);
        question.header.nlmsg_flags = NLM_F_REQUEST;
        question.header.nlmsg_seq = ++sequence_;
        question.header.nlmsg_len = static_cast<__u32>(NLMSG_LENGTH(sizeof body) + RTA_LENGTH(bytes.size()));
        if (::send(socket_, &question, question.header.nlmsg_len, 0) < 0) return nullptr;
        // One that was not fetched, since there was no memory for it, comes before.
        for (;;) {
            const ssize_t got = ::recv(socket_, &answer_, sizeof answer_, MSG_DONTWAIT);
            if (got < 0 || !nlmsg_ok(&answer_.header, static_cast<int>(got))) return nullptr;
            if (answer_.header.nlmsg_seq != sequence_) continue;
            return answer_.header.nlmsg_type == expected ? &answer_.header : nullptr;
        }
    }

  private:
    int socket_;
    std::uint32_t& sequence_;
    union {
        nlmsghdr header;
        std::array<char, answer_bytes_max> bytes;
    } answer_;
};

// The interface of the link that it is on; 0: it is behind a gateway, or here.
int link_of(Conversation& kernel, const policy::IpAddress& address) {
    rtmsg question{};
    question.rtm_family = address.is_v4() ? AF_INET : AF_INET6;
    question.rtm_dst_len = static_cast<unsigned char>(address.bytes().size() * 8);
    nlmsghdr* const answer = kernel.ask(RTM_GETROUTE, RTM_NEWROUTE, question, RTA_DST, address);
    if (answer == nullptr || !nlmsg_valid_hdr(answer, sizeof(rtmsg))) return 0;
    const auto* const route = static_cast<const rtmsg*>(nlmsg_data(answer));
    const auto has = [&](int attribute) {
        return nlmsg_find_attr(answer, sizeof(rtmsg), attribute) != nullptr;
    };
    if (route->rtm_type != RTN_UNICAST || has(RTA_GATEWAY) || has(RTA_VIA) || has(RTA_MULTIPATH)) return 0;
    nlattr* const interface = nlmsg_find_attr(answer, sizeof(rtmsg), RTA_OIF);
    return interface == nullptr ? 0 : static_cast<int>(nla_get_u32(interface));
}

// fe80::/10
bool is_of_every_link(const policy::IpAddress& address) {
    const auto bytes = address.bytes();
    return !address.is_v4() && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

}  // namespace

std::optional<policy::MacAddress> Neighbours::mac_of(const policy::IpAddress& address) {
    if (is_of_every_link(address)) return std::nullopt;
    if (!socket_) socket_ = Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket_) return std::nullopt;
    Conversation kernel(socket_.get(), sequence_);
    ndmsg question{};
    question.ndm_family = address.is_v4() ? AF_INET : AF_INET6;
    question.ndm_ifindex = link_of(kernel, address);
    if (question.ndm_ifindex == 0) return std::nullopt;
    nlmsghdr* const answer = kernel.ask(RTM_GETNEIGH, RTM_NEWNEIGH, question, NDA_DST, address);
    if (answer == nullptr || !nlmsg_valid_hdr(answer, sizeof(ndmsg))) return std::nullopt;
    const auto* const neighbour = static_cast<const ndmsg*>(nlmsg_data(answer));
    nlattr* const link_address = nlmsg_find_attr(answer, sizeof(ndmsg), NDA_LLADDR);
    std::array<std::uint8_t, 6> bytes{};
    if ((neighbour->ndm_state & has_address) == 0 || link_address == nullptr ||
        nla_len(link_address) != static_cast<int>(bytes.size()))
        return std::nullopt;
    std::memcpy(bytes.data(), nla_data(link_address), bytes.size());
    return policy::MacAddress(bytes);
}

}  // namespace sluice::datapath
