#include "userspace/cli/flow_filter.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <numeric>
#include <string_view>

#include "policy/address.h"
#include "policy/facts.h"
#include "policy/name_pattern.h"
#include "policy/protocol.h"
#include "userspace/agent/recorded_facts.h"
#include "userspace/cli/flow_view.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/flow_table.h"

namespace sluice::cli {
namespace {

using Condition = std::function<bool(const flow_record&)>;
using Parsed = std::expected<Condition, std::string>;

Parsed address_condition(const std::string& value, flow_endpoint flow_record::* side) {
    const auto cidr = policy::Cidr::parse(value);
    if (!cidr) return std::unexpected("'" + value + "' is not an address or prefix");
    return [cidr = *cidr, side](const flow_record& flow) {
        return cidr.contains(datapath::endpoint(flow.*side).address);
    };
}

Parsed number_condition(const std::string& value, std::uint64_t (*of)(const flow_record&)) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) {
        return std::unexpected("'" + value + "' is not a number");
    }
    return [number, of](const flow_record& flow) { return of(flow) == number; };
}

// One of a list of flow_abi.h; `word` gives the words by number.
Parsed word_condition(const std::string& value, std::string_view (*word)(unsigned), unsigned count,
                      __u8 flow_record::* of) {
    std::string words;
    for (unsigned number = 0; number < count; ++number) {
        if (word(number) == value)
            return [number, of](const flow_record& flow) { return flow.*of == number; };
        words += (number == 0 ? "" : number + 1 == count ? " or " : ", ") + std::string(word(number));
    }
    return std::unexpected("'" + value + "' is not known: expected " + words);
}

Parsed rule_condition(const std::string& value) {
    return [value](const flow_record& flow) { return rule(flow) == value; };
}

Parsed via_condition(const std::string& value) {
    for (unsigned number = 0; number < policy::via_words.size(); ++number) {
        if (policy::via_words[number] != value) continue;
        return [via = static_cast<policy::Via>(number)](const flow_record& flow) {
            return agent::arrival_of(flow).via == via;
        };
    }
    return std::unexpected("'" + value + "' is not known: expected captured, connect or socks5");
}

Parsed name_condition(const std::string& value) {
    const bool has_notation = value.find(':') != std::string::npos;
    auto pattern = policy::NamePattern::parse(has_notation ? value : "exact:" + value);
    if (!pattern) return std::unexpected(pattern.error());
    return [pattern = std::move(*pattern)](const flow_record& flow) {
        return pattern.matches(server_name(flow));
    };
}

Parsed text_condition(const std::string& word) {
    return [word](const flow_record& flow) {
        return datapath::endpoint(flow.source).to_string().contains(word) ||
               datapath::endpoint(flow.destination).to_string().contains(word) ||
               server_name(flow).contains(word) || rule(flow).contains(word) ||
               agent::arrival_of(flow).asked_name.contains(word);
    };
}

Parsed condition(const std::string& term) {
    const auto equals = term.find('=');
    if (equals == std::string::npos) return text_condition(term);
    const std::string key = term.substr(0, equals);
    const std::string value = term.substr(equals + 1);
    if (key == "source") return address_condition(value, &flow_record::source);
    if (key == "destination") return address_condition(value, &flow_record::destination);
    if (key == "id")
        return number_condition(value, [](const flow_record& flow) -> std::uint64_t { return flow.id; });
    if (key == "port") {
        return number_condition(
            value, [](const flow_record& flow) -> std::uint64_t { return flow.destination.port; });
    }
    if (key == "server_name") return name_condition(value);
    if (key == "rule") return rule_condition(value);
    if (key == "via") return via_condition(value);
    if (key == "protocol") {
        return word_condition(value, protocol_word, policy::protocol_words.size(), &flow_record::protocol);
    }
    if (key == "mode")
        return word_condition(value, datapath::splice_mode_word, SPLICE_MODE_COUNT, &flow_record::mode);
    if (key == "state")
        return word_condition(value, datapath::flow_state_word, FLOW_STATE_COUNT, &flow_record::state);
    return std::unexpected(
        "'" + key +
        "' is not a column: expected id, source, destination, port, server_name, protocol, via, "
        "rule, mode or state");
}

// How many letters are wrong, missing or too many (Levenshtein's distance).
std::size_t mistakes(std::string_view word, std::string_view wanted) {
    std::vector<std::size_t> row(wanted.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < word.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 0; j < wanted.size(); ++j) {
            const std::size_t same = diagonal + (word[i] == wanted[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({same, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

// `sluice flows kil 3`: whoever wrote it believes that flow 3 has ended.
bool is_misspelt_kill(const std::vector<std::string>& terms) {
    constexpr std::array<std::string_view, 6> other_words{"end",    "stop",  "delete",
                                                          "remove", "reset", "close"};
    const auto is_number = [](const std::string& term) {
        return !term.empty() && term.find_first_not_of("0123456789") == std::string::npos;
    };
    if (terms.size() < 2 || !std::all_of(terms.begin() + 1, terms.end(), is_number)) return false;
    return mistakes(terms[0], "kill") <= 2 || std::ranges::find(other_words, terms[0]) != other_words.end();
}

}  // namespace

std::expected<FlowFilter, std::string> FlowFilter::parse(const std::vector<std::string>& terms) {
    if (is_misspelt_kill(terms)) {
        return std::unexpected("'" + terms[0] + "' is not known: `sluice flows kill " + terms[1] +
                               "` ends that flow, `sluice flows id=" + terms[1] + "` shows it");
    }
    FlowFilter filter;
    for (const auto& term : terms) {
        auto parsed = condition(term);
        if (!parsed) return std::unexpected(parsed.error());
        filter.conditions_.push_back(std::move(*parsed));
    }
    return filter;
}

bool FlowFilter::matches(const flow_record& flow) const {
    for (const auto& condition : conditions_) {
        if (!condition(flow)) return false;
    }
    return true;
}

}  // namespace sluice::cli
