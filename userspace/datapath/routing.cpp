#include "userspace/datapath/routing.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>

#include <fstream>
#include <memory>
#include <string>

#include "userspace/datapath/capture.h"

namespace sluice::datapath {

namespace {

template <class T, void (*release)(T*)>
struct Release {
    void operator()(T* object) const { release(object); }
};
using Socket = std::unique_ptr<nl_sock, Release<nl_sock, nl_socket_free>>;
using Cache = std::unique_ptr<nl_cache, Release<nl_cache, nl_cache_free>>;
using Address = std::unique_ptr<nl_addr, Release<nl_addr, nl_addr_put>>;
using Rule = std::unique_ptr<rtnl_rule, Release<rtnl_rule, rtnl_rule_put>>;
using Route = std::unique_ptr<rtnl_route, Release<rtnl_route, rtnl_route_put>>;

[[noreturn]] void fail(const std::string& object, int error) {
    throw CaptureError(object + ": " + nl_geterror(error));
}

template <class T>
T* allocated(T* object) {
    if (!object) throw CaptureError("routing: out of memory");
    return object;
}

std::string command(int family, const char* rest) {
    return (family == AF_INET6 ? "ip -6 " : "ip ") + std::string(rest);
}

Socket connect() {
    Socket socket(allocated(nl_socket_alloc()));
    if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0) fail("routing: netlink", error);
    return socket;
}

// A host without IPv6 has no IPv6 packets to route, and refuses both the rule and the route.
bool ipv6_is_on() {
    std::ifstream file("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    int disabled = 1;
    return file >> disabled && disabled == 0;
}

Rule make_rule(int family, std::uint32_t mark, std::uint32_t table) {
    Rule rule(allocated(rtnl_rule_alloc()));
    rtnl_rule_set_family(rule.get(), family);
    rtnl_rule_set_prio(rule.get(), table);
    rtnl_rule_set_mark(rule.get(), mark);
    rtnl_rule_set_mask(rule.get(), mark);
    rtnl_rule_set_table(rule.get(), table);
    rtnl_rule_set_action(rule.get(), FR_ACT_TO_TBL);
    rtnl_rule_set_protocol(rule.get(), routing_protocol);
    return rule;
}

Route make_route(int family, std::uint32_t table) {
    Route route(allocated(rtnl_route_alloc()));
    rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(family));
    rtnl_route_set_table(route.get(), table);
    rtnl_route_set_type(route.get(), RTN_LOCAL);
    rtnl_route_set_scope(route.get(), RT_SCOPE_HOST);
    rtnl_route_set_protocol(route.get(), routing_protocol);
    nl_addr* any = nullptr;
    if (const int error = nl_addr_parse("default", family, &any); error < 0) fail("routing: default", error);
    const Address owner(any);
    rtnl_route_set_dst(route.get(), any);
    rtnl_nexthop* loopback = allocated(rtnl_route_nh_alloc());
    rtnl_route_nh_set_ifindex(loopback, static_cast<int>(if_nametoindex("lo")));
    rtnl_route_add_nexthop(route.get(), loopback);  // the route owns it
    return route;
}

bool is_ours(rtnl_rule* rule) {
    std::uint8_t protocol = 0;
    return rtnl_rule_get_protocol(rule, &protocol) == 0 && protocol == routing_protocol &&
           rtnl_rule_get_table(rule) == rtnl_rule_get_prio(rule) && rtnl_rule_get_mark(rule) != 0;
}

// Calls `function(rtnl_rule*)` for each rule of both families.
template <class Function>
void for_each_rule(nl_sock* socket, Function&& function) {
    nl_cache* dump = nullptr;
    if (const int error = rtnl_rule_alloc_cache(socket, AF_UNSPEC, &dump); error < 0)
        fail("ip rule list", error);
    const Cache owner(dump);
    for (nl_object* object = nl_cache_get_first(dump); object; object = nl_cache_get_next(object)) {
        function(reinterpret_cast<rtnl_rule*>(object));  // how libnl's own examples cast
    }
}

void add_rule(nl_sock* socket, int family, std::uint32_t mark, std::uint32_t table) {
    const int error = rtnl_rule_add(socket, make_rule(family, mark, table).get(), NLM_F_CREATE | NLM_F_EXCL);
    if (error < 0 && error != -NLE_EXIST) fail(command(family, "rule add"), error);
}

void delete_route(nl_sock* socket, int family, std::uint32_t table) {
    const int error = rtnl_route_delete(socket, make_route(family, table).get(), 0);
    if (error < 0 && error != -NLE_OBJ_NOTFOUND)
        fail(command(family, "route delete local default dev lo"), error);
}

void add_route(nl_sock* socket, int family, std::uint32_t table) {
    const std::string object =
        command(family, "route add local default dev lo table ") + std::to_string(table);
    const Route route = make_route(family, table);
    int error = rtnl_route_add(socket, route.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (error ==
        -NLE_EXIST) {  // ours, or somebody else's default route: only ours can be deleted with our protocol
        delete_route(socket, family, table);
        error = rtnl_route_add(socket, route.get(), NLM_F_CREATE | NLM_F_EXCL);
    }
    if (error == -NLE_EXIST)
        throw CaptureError(object + ": the table has another default route; choose another table");
    if (error < 0) fail(object, error);
}

// The rule goes last, so that a route without its rule never stays behind: the rule is what tells where the
// route is.
void remove_unless(nl_sock* socket, std::uint32_t mark, std::uint32_t table) {
    for_each_rule(socket, [&](rtnl_rule* rule) {
        const int family = rtnl_rule_get_family(rule);
        if (!is_ours(rule)) return;
        if (rtnl_rule_get_mark(rule) == mark && rtnl_rule_get_table(rule) == table) return;
        if (rtnl_rule_get_table(rule) != table) delete_route(socket, family, rtnl_rule_get_table(rule));
        const int error = rtnl_rule_delete(socket, rule, 0);
        if (error < 0 && error != -NLE_OBJ_NOTFOUND) fail(command(family, "rule delete"), error);
    });
}

}  // namespace

void install_routing(std::uint32_t mark, std::uint32_t table) {
    const Socket socket = connect();
    remove_unless(socket.get(), mark, table);
    for (const int family : {AF_INET, AF_INET6}) {
        if (family == AF_INET6 && !ipv6_is_on()) continue;
        add_rule(socket.get(), family, mark, table);
        add_route(socket.get(), family, table);
    }
}

void remove_routing() {
    remove_unless(connect().get(), 0, 0);
}

std::vector<RoutingRule> routing_rules() {
    std::vector<RoutingRule> rules;
    for_each_rule(connect().get(), [&](rtnl_rule* rule) {
        rules.push_back({.family = rtnl_rule_get_family(rule),
                         .priority = rtnl_rule_get_prio(rule),
                         .mark = rtnl_rule_get_mark(rule),
                         .mask = rtnl_rule_get_mask(rule),
                         .table = rtnl_rule_get_table(rule),
                         .ours = is_ours(rule)});
    });
    return rules;
}

bool is_routed_here(const policy::IpAddress& address) try {
    const int bytes = address.is_v4() ? 4 : 16;
    rtmsg question{};
    question.rtm_family = address.is_v4() ? AF_INET : AF_INET6;
    question.rtm_dst_len = static_cast<unsigned char>(bytes * 8);
    const std::unique_ptr<nl_msg, Release<nl_msg, nlmsg_free>> message(
        allocated(nlmsg_alloc_simple(RTM_GETROUTE, 0)));
    if (nlmsg_append(message.get(), &question, sizeof question, NLMSG_ALIGNTO) != 0 ||
        nla_put(message.get(), RTA_DST, bytes, address.bytes().data()) != 0)
        return true;
    const Socket socket = connect();
    nl_socket_disable_auto_ack(socket.get());
    if (nl_send_auto(socket.get(), message.get()) < 0) return true;
    bool is_local = false;
    const auto read = [](nl_msg* answer, void* out) {
        const auto* header = nlmsg_hdr(answer);
        if (header->nlmsg_type == RTM_NEWROUTE)
            *static_cast<bool*>(out) = static_cast<const rtmsg*>(nlmsg_data(header))->rtm_type == RTN_LOCAL;
        return static_cast<int>(NL_OK);
    };
    nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, read, &is_local);
    // An error is an answer, too: there is no way to it.
    return nl_recvmsgs_default(socket.get()) == 0 && is_local;
} catch (const CaptureError&) {
    return true;
}

}  // namespace sluice::datapath
