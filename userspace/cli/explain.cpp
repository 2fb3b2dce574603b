#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/explanation.h"
#include "policy/prospect.h"
#include "policy/quote.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/utc_time.h"
#include "userspace/text/json.h"
#include "userspace/tls/server_name.h"

namespace sluice::cli {
namespace {

using policy::Explanation;
using policy::Facts;

struct ExplainOptions {
    std::string file;
    std::string server_name;
    std::string source;
    std::string mac;
    std::string destination;
    std::string protocol;
    std::string ech = "none";
    std::vector<std::string> alpn;
    std::string ja4;
    std::string ssh_version;
    std::string ssh_server_version;
    bool server_spoke_first = false;
    std::string via = "captured";
    std::string time;
    bool json = false;
};

// Facts own no text: it is kept beside them, or in the options.
struct Question {
    Facts facts;
    std::string server_name;
    std::string_view name_note;     // why the name counts as none
    std::string_view capture_note;  // why the policy is never asked about this flow
    std::string_view dial_note;     // of a silent client's flow: what comes before its server's greeting
    bool protocol_assumed = false;
};

// Thrown for a mistake on the command line: exit code 2.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// As the agent would read it in a hello.
void read_server_name(const ExplainOptions& options, Question& question) {
    if (options.server_name.empty()) return;
    if (tls::is_address(options.server_name)) {
        question.name_note = "an IP address counts as no server name";
        return;
    }
    std::string_view mistake = tls::normalize_server_name(options.server_name, question.server_name);
    if (mistake.empty()) return;
    throw UsageError("--server-name: expected a name that a hello may carry, found " +
                     policy::quote(options.server_name) + " (" + std::string(mistake) +
                     "); such a hello is malformed");
}

void read_time(const ExplainOptions& options, Facts& facts) {
    facts.time = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    if (options.time.empty()) return;
    auto time = read_utc_time(options.time);
    if (!time) {
        throw UsageError("--time: expected a time in UTC such as 2026-11-22T08:30:00Z, found " +
                         policy::quote(options.time));
    }
    facts.time = *time;
}

void read_hello(const ExplainOptions& options, Facts& facts) {
    auto word = std::ranges::find(policy::ech_words, options.ech);
    if (word == policy::ech_words.end()) {
        throw UsageError("--ech: expected none, grease or outer, found " + policy::quote(options.ech));
    }
    facts.ech = static_cast<policy::Ech>(word - policy::ech_words.begin());
    facts.alpn = options.alpn;
    facts.ja4 = options.ja4;
    facts.ssh_version = options.ssh_version;
    facts.has_started_tls = policy::may_start_tls(facts.protocol) &&
                            !(options.server_name.empty() && options.alpn.empty() && options.ja4.empty());
    facts.ssh_server_version = options.ssh_server_version;
}

// What --protocol takes: what a rule may ask for, and `malformed`.
std::string protocol_choice() {
    std::string words;
    for (const policy::Protocol protocol : policy::rule_protocols)
        words.append(to_string(protocol)).append(protocol == policy::rule_protocols.back() ? " " : ", ");
    return words + "or malformed";
}

policy::Protocol read_protocol(const std::string& word) {
    auto found = std::ranges::find(policy::protocol_words, word);
    if (found == policy::protocol_words.end() || word == to_string(policy::Protocol::unknown))
        throw UsageError("--protocol: expected " + protocol_choice() + ", found " + policy::quote(word));
    return static_cast<policy::Protocol>(found - policy::protocol_words.begin());
}

// A client says which protocol it is, or stays silent.
void read_silence(const ExplainOptions& options, Facts& facts) {
    const bool by_greeting_only = policy::is_told_by_greeting(facts.protocol) &&
                                  facts.protocol != policy::Protocol::ssh &&
                                  (facts.protocol != policy::Protocol::smtp || facts.has_started_tls);
    facts.client_was_silent = options.server_spoke_first || by_greeting_only ||
                              !options.ssh_server_version.empty() ||
                              facts.protocol == policy::Protocol::server_first;
    const bool can_be =
        facts.protocol == policy::Protocol::server_first || policy::is_told_by_greeting(facts.protocol);
    if (facts.client_was_silent && !can_be) {
        throw UsageError(
            "--server-spoke-first: expected with a --protocol that a server's greeting tells, not " +
            std::string(to_string(facts.protocol)));
    }
}

void read_via(const ExplainOptions& options, Facts& facts) {
    auto word = std::ranges::find(policy::via_words, options.via);
    if (word == policy::via_words.end()) {
        throw UsageError("--via: expected captured, connect or socks5, found " + policy::quote(options.via));
    }
    facts.via = static_cast<policy::Via>(word - policy::via_words.begin());
}

Question read_question(const ExplainOptions& options) {
    Question question;
    Facts& facts = question.facts;
    auto source = policy::IpAddress::parse(options.source);
    if (!source) throw UsageError("--source: expected an IP address, found " + policy::quote(options.source));
    facts.source.address = *source;

    if (!options.mac.empty()) facts.mac = policy::MacAddress::parse(options.mac);
    if (!options.mac.empty() && !facts.mac) {
        throw UsageError("--mac: expected a MAC address such as 02:00:5e:10:00:01, found " +
                         policy::quote(options.mac));
    }

    auto destination = policy::Endpoint::parse(options.destination);
    if (!destination || destination->port == 0) {
        throw UsageError("--destination: expected IP:PORT or [IPv6]:PORT, found " +
                         policy::quote(options.destination));
    }
    facts.destination = *destination;

    read_via(options, facts);
    read_server_name(options, question);
    if (options.protocol.empty()) {
        question.protocol_assumed = true;
        facts.protocol = options.server_name.empty() ? policy::Protocol::other : policy::Protocol::tls;
    } else {
        facts.protocol = read_protocol(options.protocol);
    }
    const bool can_have_name =
        facts.protocol == policy::Protocol::tls || facts.protocol == policy::Protocol::http ||
        facts.protocol == policy::Protocol::malformed || policy::may_start_tls(facts.protocol) ||
        facts.via != policy::Via::captured;  // the name that the proxy's client asked for
    if (!options.server_name.empty() && !can_have_name) {
        throw UsageError("--server-name: expected with a --protocol that carries one, not " +
                         options.protocol);
    }
    read_hello(options, facts);
    read_silence(options, facts);
    read_time(options, facts);
    return question;
}

// What the agent would find out besides, of a flow with a name; empty: nothing.
std::string verification(const Explanation& explanation, const Facts& facts) {
    if (!explanation.verdict.allowed() || facts.server_name.empty()) return {};
    const policy::Verify verify = explanation.verdict.outcome.verify;
    const std::string address = facts.destination.address.to_string();
    const std::string name(facts.server_name);
    switch (verify) {
        case policy::Verify::off:
            return {};
        case policy::Verify::log:
            return "log: it passes, and the log says whether " + address + " is an address of " + name;
        case policy::Verify::pin:
            return "pin: if " + address + " is no address of " + name + ", one of these is dialled instead";
        case policy::Verify::enforce:
            break;
    }
    return "enforce: refused after all unless " + address + " is an address of " + name;
}

void print_text(const Explanation& explanation, const Question& question) {
    const policy::Outcome& outcome = explanation.verdict.outcome;
    auto row = [](std::string_view title, std::string_view value) { fmt::print("{:<13}{}\n", title, value); };
    row("decision", to_string(outcome.action));
    const policy::Step* decider = explanation.decider;
    std::string where = decider != nullptr ? fmt::format(" (line {})", decider->rule->line) : "";
    row("rule", std::string(explanation.verdict.rule) + where);
    if (decider != nullptr && decider->profile != nullptr) {
        row("profile", fmt::format("{} (line {})", decider->profile->name, decider->profile->line));
        row("used by", fmt::format("{} (line {})", decider->user->name, decider->user->line));
    }
    if (!explanation.verdict.list.empty()) row("list", explanation.verdict.list);
    if (!explanation.verdict.category.empty()) row("category", explanation.verdict.category);
    if (!explanation.verdict.would_deny.empty()) row("would deny", explanation.verdict.would_deny);
    if (!explanation.verdict.allowed()) row("style", to_string(outcome.style));
    row("log", outcome.log ? "yes" : "no");
    const std::string verify = verification(explanation, question.facts);
    if (!verify.empty()) row("verify", verify);
    row("protocol", std::string(to_string(question.facts.protocol)) +
                        (question.protocol_assumed ? " (assumed; --protocol says otherwise)" : ""));
    if (!question.name_note.empty()) row("note", question.name_note);
    if (!question.capture_note.empty()) row("note", question.capture_note);
    if (!question.dial_note.empty()) row("note", question.dial_note);
    for (const std::string& reason : explanation.because)
        row("because", reason);
    for (const std::string& rule : explanation.passed_over)
        row("passed over", rule);
    for (const std::string& rule : explanation.shadowed)
        row("shadowed", rule);
}

void print_json(const Explanation& explanation, const Question& question) {
    const policy::Outcome& outcome = explanation.verdict.outcome;
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("decision", to_string(outcome.action)).add("rule", explanation.verdict.rule);
        const policy::Step* decider = explanation.decider;
        if (decider != nullptr) object.add("line", decider->rule->line);
        if (decider != nullptr && decider->profile != nullptr) {
            object.add("profile", decider->profile->name).add("used_by", decider->user->name);
        }
        if (!explanation.verdict.list.empty()) object.add("list", explanation.verdict.list);
        if (!explanation.verdict.category.empty()) object.add("category", explanation.verdict.category);
        if (!explanation.verdict.would_deny.empty()) object.add("would_deny", explanation.verdict.would_deny);
        if (!explanation.verdict.allowed()) object.add("style", to_string(outcome.style));
        if (outcome.verify != policy::Verify::off) object.add("verify", to_string(outcome.verify));
        object.add("log", outcome.log).add("source", question.facts.source.address.to_string());
        if (question.facts.mac) object.add("mac", question.facts.mac->to_string());
        object.add("destination", question.facts.destination.to_string())
            .add("protocol", to_string(question.facts.protocol))
            .add("server_name", question.server_name)
            .add("captured", question.capture_note.empty());
        if (!question.dial_note.empty()) object.add("note", question.dial_note);
        object.add("because", explanation.because)
            .add("passed_over", explanation.passed_over)
            .add("shadowed", explanation.shadowed);
    }
    fmt::print("{}\n", fmt::to_string(out));
}

// As the capture's rules have it (userspace/datapath/capture.cpp); empty: the flow is captured.
std::string_view why_not_captured(const datapath::CaptureConfig& capture, const Facts& facts) {
    if (facts.via != policy::Via::captured) return {};
    const auto holds = [](const auto& ranges, const auto& value) {
        return std::ranges::any_of(ranges, [&](const auto& range) { return range.contains(value); });
    };
    if (!capture.install) return {};
    if (holds(capture.exclude_sources, facts.source.address)) {
        return "not captured, so never judged: the source is in capture.exclude.sources";
    }
    if (holds(capture.exclude_destinations, facts.destination.address)) {
        return "not captured, so never judged: the destination is in capture.exclude.destinations";
    }
    if (holds(capture.exclude_ports, facts.destination.port)) {
        return "not captured, so never judged: the port is in capture.exclude.ports";
    }
    if (!capture.ports.empty() && !holds(capture.ports, facts.destination.port)) {
        return "not captured, so never judged: the port is not in capture.ports";
    }
    return {};
}

// What is known before the greeting; if that is denied, there is nothing else to judge.
void await_greeting(const policy::Policy& policy, Question& question) {
    if (!question.facts.client_was_silent) return;
    Facts known = question.facts;
    known.protocol = policy::Protocol::server_first;
    known.has_started_tls = false;
    known.server_name = known.asked_name;
    known.to_come = policy::ToCome::greeting;
    question.dial_note = "the server is dialled, since its greeting may be allowed, and judged by that";
    if (policy::prospect(policy, known).may_allow) return;
    question.dial_note = "denied before any greeting: the server is not dialled, and no name is heard";
    question.facts = known;
}

int run(const ExplainOptions& options) {
    try {
        Question question = read_question(options);
        question.facts.server_name = question.server_name;
        if (question.facts.via != policy::Via::captured) question.facts.asked_name = question.server_name;
        agent::Config config = agent::read_config(options.file);
        for (const std::string& warning : config.list_warnings)
            fmt::print(stderr, "{}\n", warning);
        question.capture_note = why_not_captured(config.capture, question.facts);
        await_greeting(*config.policy, question);
        Explanation explanation = policy::explain(*config.policy, question.facts);
        options.json ? print_json(explanation, question) : print_text(explanation, question);
        return 0;
    } catch (const UsageError& error) {
        fmt::print(stderr, "sluice explain: error: {}\n", error.what());
        return 2;
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}

}  // namespace

void add_explain(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<ExplainOptions>();
    CLI::App* command = app.add_subcommand("explain", "say which rule decides a flow, and why");
    command->add_option("-c,--config", options->file, "configuration file")->type_name("FILE")->required();
    command->add_option("--server-name", options->server_name, "name in the ClientHello")->type_name("NAME");
    command->add_option("--source", options->source, "the client's address")->type_name("IP")->required();
    command->add_option("--mac", options->mac, "the client's; unknown if not given")->type_name("MAC");
    command->add_option("--destination", options->destination, "what the client dialled")
        ->type_name("IP:PORT")
        ->required();
    command
        ->add_option("--protocol", options->protocol,
                     protocol_choice() + "; without it tls if a server name is given, else other")
        ->type_name("WORD");
    command->add_option("--ech", options->ech, "none (default), grease or outer")->type_name("WORD");
    command->add_option("--alpn", options->alpn, "what the client offers: h2,http/1.1")
        ->type_name("ID,...")
        ->delimiter(',');
    command->add_option("--ja4", options->ja4, "fingerprint of the ClientHello")->type_name("JA4");
    command->add_option("--ssh-version", options->ssh_version, "of the client, without SSH-: 2.0-OpenSSH_9.2")
        ->type_name("TEXT");
    command
        ->add_option("--ssh-server-version", options->ssh_server_version,
                     "of a server that spoke first, without SSH-")
        ->type_name("TEXT");
    command->add_flag("--server-spoke-first", options->server_spoke_first, "the client waited for it");
    command->add_option("--via", options->via, "captured (default), connect or socks5")->type_name("WORD");
    command->add_option("--time", options->time, "in UTC, such as 2026-11-22T08:30:00Z; now if not given")
        ->type_name("TIME");
    command->add_flag("--json", options->json, "one JSON object instead of text");
    command->callback([options, &exit_code] { exit_code = run(*options); });
    command->footer("Exits 0 whatever the decision, 1 when the file is wrong, 2 when the question is.");
}

}  // namespace sluice::cli
