#include "userspace/datapath/firewall_check.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cstring>
#include <sstream>

#include "userspace/datapath/nft.h"
#include "userspace/datapath/routing.h"

namespace sluice::datapath {

namespace {

// A chain of `nft list ruleset`.
struct Chain {
    std::string table;  // family and name, e.g. "ip filter"
    std::string name;
    std::string hook;  // the "type ... hook ... policy ..." line; empty: not a base chain
    std::vector<std::string> rules;
};

// Reads nft's own layout: "table F N {", one tab, "chain N {", two tabs and a rule.
std::vector<Chain> parse_chains(const std::string& ruleset) {
    std::vector<Chain> chains;
    std::string table;
    bool in_chain = false;
    std::istringstream lines(ruleset);
    for (std::string line; std::getline(lines, line);) {
        const bool opens = line.ends_with(" {");
        if (line.starts_with("table ") && opens) table = line.substr(6, line.size() - 8);
        if (line.starts_with("\tchain ") && opens) {
            chains.push_back(
                {.table = table, .name = line.substr(7, line.size() - 9), .hook = {}, .rules = {}});
            in_chain = true;
        } else if (line == "\t}") {
            in_chain = false;
        } else if (in_chain && line.starts_with("\t\ttype ")) {
            chains.back().hook = line.substr(2);
        } else if (in_chain && line.starts_with("\t\t")) {
            chains.back().rules.push_back(line.substr(2));
        }
    }
    return chains;
}

bool contains(const std::string& text, const char* word) {
    return text.find(word) != std::string::npos;
}

// A rule without a condition.
bool drops_all(const std::string& rule) {
    const bool counted = rule.starts_with("counter packets ");
    const std::string verdict = counted ? rule.substr(rule.find(" bytes ") + 1) : rule;
    return verdict.starts_with("drop") || verdict.starts_with("reject") ||
           (counted && (verdict.ends_with(" drop") || contains(verdict, " reject")));
}

bool drops_by_default(const Chain& chain) {
    if (contains(chain.hook, "policy drop")) return true;
    for (const std::string& rule : chain.rules) {
        if (drops_all(rule)) return true;
    }
    return false;
}

// Captured packets are delivered to this host: a firewall that guards its input stops them, unless it knows
// our mark.
void check_input(const Chain& chain, const std::string& mark, std::vector<Finding>& findings) {
    if (!contains(chain.hook, " hook input ") || !drops_by_default(chain)) return;
    for (const std::string& rule : chain.rules) {
        if (contains(rule, mark.c_str()) && contains(rule, "accept")) return;
    }
    findings.push_back({Severity::problem,
                        "table " + chain.table + ", chain " + chain.name +
                            " drops what it does not know, and captured packets count as input",
                        "nft insert rule " + chain.table + " " + chain.name + " meta mark and " + mark +
                            " == " + mark + " accept"});
}

void check_tproxy(const Chain& chain, std::vector<Finding>& findings) {
    for (const std::string& rule : chain.rules) {
        if (strcasestr(rule.c_str(), "tproxy") == nullptr) continue;
        findings.push_back({Severity::warning,
                            "table " + chain.table + ", chain " + chain.name +
                                " has TPROXY rules too: whichever comes first takes the flow",
                            "nft -a list chain " + chain.table + " " + chain.name});
        return;
    }
}

std::string describe(const RoutingRule& rule) {
    return std::string(rule.family == AF_INET6 ? "ip -6 rule " : "ip rule ") + std::to_string(rule.priority) +
           " (lookup " + std::to_string(rule.table) + ")";
}

std::string delete_command(const RoutingRule& rule) {
    return std::string(rule.family == AF_INET6 ? "ip -6" : "ip") + " rule del priority " +
           std::to_string(rule.priority);
}

}  // namespace

void check_routing_rules(const CaptureConfig& config, std::vector<Finding>& findings) {
    const std::size_t before = findings.size();
    for (const RoutingRule& rule : routing_rules()) {
        if (rule.ours || rule.table == RT_TABLE_LOCAL) continue;
        const bool same_bit = (rule.mark & rule.mask & config.mark) != 0;
        if (rule.table == config.routing_table) {
            findings.push_back({Severity::problem, describe(rule) + " uses the routing table of the capture",
                                "set another capture.routing_table, or: " + delete_command(rule)});
        } else if (same_bit) {
            findings.push_back({Severity::problem, describe(rule) + " goes by the mark bit of the capture",
                                "set another capture.mark, or: " + delete_command(rule)});
        } else if (rule.mask == 0 && rule.priority <= config.routing_table) {
            findings.push_back({Severity::warning,
                                describe(rule) +
                                    " comes before the capture's rule: packets that find a route there "
                                    "do not reach the agent",
                                "set a capture.routing_table (it is the priority too) below " +
                                    std::to_string(rule.priority)});
        }
    }
    if (findings.size() == before)
        findings.push_back({Severity::ok, "no other routing rule is in the way", ""});
}

void check_firewall(const CaptureConfig& config, std::vector<Finding>& findings) {
    const std::size_t before = findings.size();
    std::ostringstream mark;
    mark << "0x" << std::hex;
    mark.fill('0');
    mark.width(8);
    mark << config.mark;  // as nft prints marks
    for (const Chain& chain : parse_chains(run_nft("nft list ruleset", "list ruleset"))) {
        if (chain.table == "inet sluice") continue;
        check_input(chain, mark.str(), findings);
        check_tproxy(chain, findings);
    }
    if (findings.size() == before)
        findings.push_back({Severity::ok, "no other nftables rule is in the way", ""});
}

}  // namespace sluice::datapath
