#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/quote.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/text/json.h"
#include "userspace/tls/server_name.h"

namespace sluice::cli {
namespace {

using policy::Condition;
using policy::Facts;
using policy::Rule;

struct ExplainOptions {
    std::string file;
    std::string server_name;
    std::string source;
    std::string destination;
    std::string protocol;
    bool json = false;
};

// Facts own no text: the name is kept beside them.
struct Question {
    Facts facts;
    std::string server_name;
    std::string_view name_note;     // why the name counts as none
    std::string_view capture_note;  // why the policy is never asked about this flow
    bool protocol_assumed = false;
};

struct Explanation {
    policy::Verdict verdict;
    const Rule* rule = nullptr;  // null: `default` or `malformed` decided
    std::vector<std::string> because;
    std::vector<std::string> passed_over;
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

Question read_question(const ExplainOptions& options) {
    Question question;
    Facts& facts = question.facts;
    auto source = policy::IpAddress::parse(options.source);
    if (!source) throw UsageError("--source: expected an IP address, found " + policy::quote(options.source));
    facts.source.address = *source;

    auto destination = policy::Endpoint::parse(options.destination);
    if (!destination || destination->port == 0) {
        throw UsageError("--destination: expected IP:PORT or [IPv6]:PORT, found " +
                         policy::quote(options.destination));
    }
    facts.destination = *destination;

    read_server_name(options, question);
    if (options.protocol.empty()) {
        question.protocol_assumed = true;
        facts.protocol = options.server_name.empty() ? policy::Protocol::other : policy::Protocol::tls;
    } else {
        auto word = std::ranges::find(policy::protocol_words, options.protocol);
        if (word == policy::protocol_words.end()) {
            throw UsageError("--protocol: expected tls, http, ssh, server-first, other or malformed, found " +
                             policy::quote(options.protocol));
        }
        facts.protocol = static_cast<policy::Protocol>(word - policy::protocol_words.begin());
    }
    const bool can_have_name =
        facts.protocol == policy::Protocol::tls || facts.protocol == policy::Protocol::malformed;
    if (!options.server_name.empty() && !can_have_name) {
        throw UsageError("--server-name: only tls carries one, not " + options.protocol);
    }
    return question;
}

// The fact that a condition is about, as text.
std::string fact(Condition condition, const Question& question) {
    const Facts& facts = question.facts;
    switch (condition) {
        case Condition::source:
            return "source " + facts.source.address.to_string();
        case Condition::destination:
            return "destination " + facts.destination.address.to_string();
        case Condition::port:
            return "port " + std::to_string(facts.destination.port);
        case Condition::protocol:
            return "protocol " + std::string(to_string(facts.protocol));
        case Condition::server_name:
            if (facts.protocol == policy::Protocol::malformed) return "server_name (unknown: malformed)";
            return "server_name " + (question.server_name.empty() ? "(none)" : question.server_name);
    }
    return "";
}

// Each condition of a rule that matches, with the entry that made it hold.
std::vector<std::string> reasons(const Rule& rule, const Question& question) {
    const Facts& facts = question.facts;
    std::vector<std::string> reasons;
    auto add = [&](Condition condition, const auto& entries, auto holds, auto text) {
        auto entry = std::ranges::find_if(entries, holds);
        if (entry == entries.end()) return;
        reasons.push_back(fact(condition, question) + " matches " + std::string(text(*entry)));
    };
    auto as_text = [](const auto& entry) { return entry.to_string(); };
    add(
        Condition::source, rule.sources, [&](const auto& e) { return e.contains(facts.source.address); },
        as_text);
    add(
        Condition::destination, rule.destinations,
        [&](const auto& e) { return e.contains(facts.destination.address); }, as_text);
    add(
        Condition::port, rule.ports, [&](const auto& e) { return e.contains(facts.destination.port); },
        as_text);
    // The rule matches, so whichever protocols it asks for include this one (tls, for malformed).
    bool malformed = facts.protocol == policy::Protocol::malformed;
    policy::Protocol protocol = malformed ? policy::Protocol::tls : facts.protocol;
    add(
        Condition::protocol, rule.protocols, [&](policy::Protocol e) { return e == protocol; },
        [](policy::Protocol e) { return to_string(e); });
    add(
        Condition::server_name, rule.server_names,
        [&](const auto& e) { return e.matches(facts.server_name); }, [](const auto& e) { return e.text(); });
    if (reasons.empty()) reasons.push_back("the rule has no conditions");
    return reasons;
}

// judge() decides; this only tells how it came to that.
Explanation explain(const policy::Policy& policy, const Question& question) {
    Explanation explanation;
    explanation.verdict = policy.judge(question.facts);
    for (const Rule& rule : policy.rules()) {
        if (rule.name == explanation.verdict.rule) {
            explanation.rule = &rule;
            explanation.because = reasons(rule, question);
            return explanation;
        }
        std::optional<Condition> unmet = rule.unmet(question.facts);
        explanation.passed_over.push_back(
            fmt::format("{} (line {}): {}", rule.name, rule.line,
                        unmet ? fact(*unmet, question) + " does not match"
                              : "a rule that allows is not asked for a malformed hello"));
    }
    explanation.because.push_back(policy.rules().empty() ? "there are no rules" : "no rule matches");
    return explanation;
}

void print_text(const Explanation& explanation, const Question& question) {
    const policy::Outcome& outcome = explanation.verdict.outcome;
    auto row = [](std::string_view title, std::string_view value) { fmt::print("{:<13}{}\n", title, value); };
    row("decision", to_string(outcome.action));
    std::string where = explanation.rule ? fmt::format(" (line {})", explanation.rule->line) : "";
    row("rule", std::string(explanation.verdict.rule) + where);
    if (!explanation.verdict.allowed()) row("style", to_string(outcome.style));
    row("log", outcome.log ? "yes" : "no");
    row("protocol", std::string(to_string(question.facts.protocol)) +
                        (question.protocol_assumed ? " (assumed; --protocol says otherwise)" : ""));
    if (!question.name_note.empty()) row("note", question.name_note);
    if (!question.capture_note.empty()) row("note", question.capture_note);
    for (const std::string& reason : explanation.because)
        row("because", reason);
    for (const std::string& rule : explanation.passed_over)
        row("passed over", rule);
}

void print_json(const Explanation& explanation, const Question& question) {
    const policy::Outcome& outcome = explanation.verdict.outcome;
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("decision", to_string(outcome.action)).add("rule", explanation.verdict.rule);
        if (explanation.rule != nullptr) object.add("line", explanation.rule->line);
        if (!explanation.verdict.allowed()) object.add("style", to_string(outcome.style));
        object.add("log", outcome.log)
            .add("source", question.facts.source.address.to_string())
            .add("destination", question.facts.destination.to_string())
            .add("protocol", to_string(question.facts.protocol))
            .add("server_name", question.server_name)
            .add("captured", question.capture_note.empty())
            .add("because", explanation.because)
            .add("passed_over", explanation.passed_over);
    }
    fmt::print("{}\n", fmt::to_string(out));
}

// As the capture's rules have it (userspace/datapath/capture.cpp); empty: the flow is captured.
std::string_view why_not_captured(const datapath::CaptureConfig& capture, const Facts& facts) {
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

int run(const ExplainOptions& options) {
    try {
        Question question = read_question(options);
        question.facts.server_name = question.server_name;
        agent::Config config = agent::read_config(options.file);
        question.capture_note = why_not_captured(config.capture, question.facts);
        Explanation explanation = explain(*config.policy, question);
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
    command->add_option("--destination", options->destination, "what the client dialled")
        ->type_name("IP:PORT")
        ->required();
    command
        ->add_option(
            "--protocol", options->protocol,
            "tls, http, ssh, server-first, other or malformed; without it tls if a server name is given, "
            "else other")
        ->type_name("WORD");
    command->add_flag("--json", options->json, "one JSON object instead of text");
    command->callback([options, &exit_code] { exit_code = run(*options); });
    command->footer("Exits 0 whatever the decision, 1 when the file is wrong, 2 when the question is.");
}

}  // namespace sluice::cli
