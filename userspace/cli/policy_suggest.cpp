// `sluice policy suggest`: an allow-list for the flows of a past log.
#include <fmt/format.h>
#include <libpsl.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>

#include "policy/yaml_reader.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/past_flow.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

constexpr const char* suffix_file = "/usr/share/publicsuffix/public_suffix_list.dafsa";

struct SuggestOptions {
    std::string log;
    bool denied_too = false;
};

struct FreeSuffixes {
    void operator()(psl_ctx_t* list) const { psl_free(list); }
};
using PublicSuffixes = std::unique_ptr<psl_ctx_t, FreeSuffixes>;

// "example.co.uk" of "www.example.co.uk"; of a public suffix itself, nothing: it belongs to nobody.
std::string registrable_domain(const psl_ctx_t* list, const std::string& name) {
    const char* domain = psl_registrable_domain(list, name.c_str());
    return domain == nullptr ? std::string() : std::string(domain);
}

struct Use {
    std::set<std::string> names;
    std::size_t flows = 0;
    std::string last;

    void add(const PastFlow& flow) {
        ++flows;
        last = std::max(last, flow.time);
    }
};

struct Suggestion {
    std::map<std::string, Use> domains;
    // Flows without a name: by protocol and port, then by address.
    std::map<std::pair<policy::Protocol, std::uint16_t>, std::map<policy::IpAddress, Use>> places;
    std::size_t flows = 0;
    std::size_t denied = 0;
    std::size_t malformed = 0;
    std::string first, last;
};

void add(Suggestion& suggestion, const PastFlow& flow, const psl_ctx_t* list) {
    const policy::Facts facts = flow.facts();
    if (facts.is_malformed()) {
        ++suggestion.malformed;
        return;
    }
    ++suggestion.flows;
    suggestion.first = suggestion.first.empty() ? flow.time : std::min(suggestion.first, flow.time);
    suggestion.last = std::max(suggestion.last, flow.time);
    // A rule on names alone does not lead a flow that begins in the clear to its hello.
    if (facts.server_name.empty() || facts.has_started_tls) {
        suggestion.places[{facts.protocol, facts.destination.port}][facts.destination.address].add(flow);
        return;
    }
    const std::string name(facts.server_name);
    const std::string domain = registrable_domain(list, name);
    Use& use = suggestion.domains[domain.empty() ? name : domain];
    use.names.insert(name);
    use.add(flow);
}

std::string plural(std::size_t count, const char* word) {
    return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

std::string usage(const Use& use) {
    return fmt::format("{}, last {}", plural(use.flows, "flow"), text::printable(use.last));
}

void print_domain(const std::string& domain, const Use& use, const psl_ctx_t* list) {
    // A public suffix that was used as a name stands for itself, not for all below it.
    const bool fold = use.names.size() > 1 && !registrable_domain(list, domain).empty();
    if (fold) {
        fmt::print("        - suffix:{}  # {}, {}\n", domain, plural(use.names.size(), "name"), usage(use));
        return;
    }
    for (const std::string& name : use.names)
        fmt::print("        - exact:{}  # {}\n", name, usage(use));
}

void print(const Suggestion& suggestion, const SuggestOptions& options, const psl_ctx_t* list) {
    fmt::print("# Suggested by `sluice policy suggest` from {}:\n", text::printable(options.log));
    fmt::print("# {} from {} to {}, names folded by registrable domain. Read it before you use it.\n",
               plural(suggestion.flows, "flow"), text::printable(suggestion.first),
               text::printable(suggestion.last));
    if (suggestion.denied > 0) {
        fmt::print("# Left out: {} that had been denied (--denied-too has them).\n",
                   plural(suggestion.denied, "flow"));
    }
    if (suggestion.malformed > 0) {
        fmt::print("# Left out: {} whose hello was malformed.\n", plural(suggestion.malformed, "flow"));
    }
    fmt::print("policy:\n  default: deny\n  rules:\n");
    if (!suggestion.domains.empty()) {
        fmt::print("    - name: suggested-names\n      server_name:\n");
        for (const auto& [domain, use] : suggestion.domains)
            print_domain(domain, use, list);
        fmt::print("      action: allow\n");
    }
    for (const auto& [place, addresses] : suggestion.places) {
        const std::string_view protocol = policy::to_string(place.first);
        fmt::print("    - name: suggested-{}-{}\n", protocol, place.second);
        fmt::print("      protocol: {}\n      port: {}\n", protocol, place.second);
        // TLS and HTTP without a name: a name there is must still be judged.
        const bool may_have_name =
            place.first == policy::Protocol::tls || place.first == policy::Protocol::http;
        if (may_have_name) fmt::print("      server_name: none\n");
        fmt::print("      destination:\n");
        for (const auto& [address, use] : addresses)
            fmt::print("        - {}  # {}\n", address.to_string(), usage(use));
        fmt::print("      action: allow\n");
    }
}

int run(const SuggestOptions& options) {
    const PublicSuffixes list(psl_latest(suffix_file));
    if (!list) {
        fmt::print(stderr, "sluice policy suggest: error: expected the public suffix list, found none\n");
        return 1;
    }
    Suggestion suggestion;
    try {
        const PastFlowCount count = read_past_flows(options.log, [&](const PastFlow& flow) {
            if (flow.allowed || options.denied_too) {
                add(suggestion, flow, list.get());
            } else {
                ++suggestion.denied;
            }
        });
        if (count.other_lines > 0)
            fmt::print(stderr, "{} are not of sluice's log\n", plural(count.other_lines, "line"));
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
    // What allows nothing is nobody's wish.
    if (suggestion.flows == 0) {
        fmt::print(stderr, "sluice policy suggest: error: {}: no flow that could be allowed\n", options.log);
        return 1;
    }
    print(suggestion, options, list.get());
    return 0;
}

}  // namespace

void add_policy_suggest(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<SuggestOptions>();
    CLI::App* command = app.add_subcommand("suggest", "write an allow-list for the flows of a past log");
    command->add_option("--from", options->log, "the log, - for standard input")
        ->type_name("LOG")
        ->required();
    command->add_flag("--denied-too", options->denied_too, "count flows that were denied, too");
    command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
