#pragma once
// What a rule asks of a flow.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/address_set.h"
#include "policy/facts.h"
#include "policy/list_condition.h"
#include "policy/mac_address.h"
#include "policy/name_patterns.h"
#include "policy/text_pattern.h"
#include "policy/time_window.h"

namespace sluice::policy {

// In the order in which they are looked at, the cheap ones first; the words are the file's keys.
enum class Condition : std::uint8_t {
    source,
    mac,
    destination,
    port,
    protocol,
    via,
    ech,
    match,
    list,
    category,
    time,
    alpn,
    ja4,
    ssh_version,
    ssh_server_version,
    server_name,
    any_of,
    none_of,
};
inline constexpr std::array<std::string_view, 18> condition_words{
    "source",      "mac",    "destination", "port",        "protocol",
    "via",         "ech",    "match",       "list",        "category",
    "time",        "alpn",   "ja4",         "ssh_version", "ssh_server_version",
    "server_name", "any_of", "not"};
constexpr std::string_view to_string(Condition condition) {
    return condition_words[static_cast<std::size_t>(condition)];
}

enum class Truth : std::uint8_t { no, maybe, yes };

// ALPN's word for a client that offers no protocol.
inline constexpr std::string_view no_alpn = "none";

// A condition that is empty holds for every flow. Within one condition any entry suffices; all conditions
// must hold. Sets are shared: a named one stands in many rules.
//
// A malformed flow has the protocol that it began as, and nothing else that it said counts: no condition on a
// name, a fingerprint or the like holds for it.
struct Conditions {
    std::vector<std::shared_ptr<const AddressSet>> sources;
    std::vector<std::shared_ptr<const MacSet>> macs;
    std::vector<std::shared_ptr<const AddressSet>> destinations;
    std::vector<PortRange> ports;  // of the original destination
    std::vector<Protocol> protocols;
    std::vector<Via> vias;
    std::vector<std::shared_ptr<const NamePatterns>> server_names;
    bool no_server_name = false;  // `none` among the server names
    std::vector<Ech> ech;
    std::vector<std::string> alpn;
    std::vector<TextPattern> ja4;
    std::vector<TextPattern> ssh_versions;
    std::vector<TextPattern> ssh_server_versions;
    std::vector<TimeWindow> times;
    bool uncategorized = false;  // `match`: a name that no list knows
    ListCondition lists;
    ListCondition categories;
    std::vector<Conditions> any_of;   // one of these must hold
    std::vector<Conditions> none_of;  // none of these may hold

    bool asks_for_name() const { return no_server_name || !server_names.empty(); }
    bool asks_for_lists() const { return uncategorized || !lists.empty() || !categories.empty(); }
    bool needs_name() const { return (!server_names.empty() && !no_server_name) || asks_for_lists(); }
    bool has(Condition condition) const;
    bool empty() const;                                        // has none
    std::optional<Condition> unmet(const Facts& facts) const;  // the first condition that does not hold
    bool hold(const Facts& facts) const { return !unmet(facts); }
    // With facts of which some are still to come: whether they will hold, if that is certain already.
    // `may_start_tls`: whoever has these conditions asks for a protocol that may turn to TLS.
    Truth truth(const Facts& facts, bool may_start_tls) const;
    bool ask_for_start_of_tls() const;  // do so themselves
    // Here or within.
    bool ask_for(Condition condition) const;
    bool ask_for_under_not(Condition condition) const;
    // The list by which they hold, or whether it is that no list knows the name. REQUIRES that they hold.
    std::optional<std::size_t> list_of(const Facts& facts) const;
    bool hold_uncategorized(const Facts& facts) const;

  private:
    bool holds(Condition condition, const Facts& facts) const;
    Truth truth(Condition condition, const Facts& facts, bool may_start_tls) const;
};

}  // namespace sluice::policy
