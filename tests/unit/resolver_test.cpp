// The gateway's questions to a real name server on loopback, and answers of every kind.
#include "userspace/names/resolver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "tests/support/name_server.h"
#include "tests/support/wait.h"
#include "userspace/names/dns_answer.h"

namespace sluice::names {
namespace {

using test::DnsReply;
using test::NameServer;
using test::wait_until;

const policy::IpAddress client = policy::IpAddress::parse("10.0.0.1").value();

policy::IpAddress ip(const std::string& text) {
    return policy::IpAddress::parse(text).value();
}

const unsigned char* bytes(const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

Resolver::Servers servers_of(const NameServer& server) {
    return {{ip("127.0.0.1"), server.port()}};
}

// Asks, and waits for the answer.
bool ask(Resolver& resolver, const Question& question) {
    std::atomic<bool> done = false;
    if (!resolver.ask(question, client, [&] { done = true; })) return false;
    return wait_until([&] { return done.load(); });
}

TEST(Resolver, AddressesOfBothFamiliesAndThroughAliasesAreLearned) {
    NameServer server(nullptr, "127.0.0.1", 0, [](const std::string& name, bool) {
        if (name == "alias.example") return DnsReply{.addresses = {"192.0.2.7"}, .alias = "other.example"};
        return DnsReply{.addresses = {"192.0.2.1", "192.0.2.2", "2001:db8::1"}};
    });
    Resolver resolver(servers_of(server));
    ASSERT_TRUE(ask(resolver, {"www.example", Family::v4}));
    ASSERT_TRUE(ask(resolver, {"www.example", Family::v6}));
    ASSERT_TRUE(ask(resolver, {"alias.example", Family::v4}));
    EXPECT_TRUE(resolver.look({"www.example", Family::v4}, ip("192.0.2.2")).is_address);
    EXPECT_FALSE(resolver.look({"www.example", Family::v4}, ip("192.0.2.3")).is_address);
    EXPECT_TRUE(resolver.look({"www.example", Family::v6}, ip("2001:db8::1")).is_address);
    EXPECT_TRUE(resolver.look({"alias.example", Family::v4}, ip("192.0.2.7")).is_address);
    EXPECT_FALSE(resolver.look({"other.example", Family::v4}, ip("192.0.2.7")).is_address);
    EXPECT_EQ(resolver.totals().questions, 3u);
    EXPECT_EQ(resolver.totals().addresses, 4u);
}

TEST(Resolver, ThereAreNoneIsAnAnswerAndTroubleIsNot) {
    NameServer server(nullptr, "127.0.0.1", 0, [](const std::string& name, bool) {
        return DnsReply{.rcode = name == "none.example" ? 3u : name == "trouble.example" ? 2u : 0u};
    });
    Resolver resolver(servers_of(server));
    for (const char* name : {"none.example", "empty.example", "trouble.example"})
        ASSERT_TRUE(ask(resolver, {name, Family::v4})) << name;
    EXPECT_TRUE(resolver.look({"none.example", Family::v4}, client).is_answered);
    EXPECT_TRUE(resolver.look({"empty.example", Family::v4}, client).is_answered);
    EXPECT_FALSE(resolver.look({"trouble.example", Family::v4}, client).is_answered);
    EXPECT_EQ(resolver.totals().failures, 1u);
}

TEST(Resolver, OneQuestionIsUnderWayWhoeverWaitsForItsAnswer) {
    std::atomic<bool> may_answer = false;
    NameServer server(nullptr, "127.0.0.1", 0, [&](const std::string&, bool) {
        wait_until([&] { return may_answer.load(); });
        return DnsReply{.addresses = {"192.0.2.1"}};
    });
    Resolver resolver(servers_of(server));
    std::atomic<int> done = 0;
    for (int i = 0; i < 100; ++i)
        EXPECT_TRUE(resolver.ask({"www.example", Family::v4}, client, [&] { ++done; }));
    may_answer = true;
    EXPECT_TRUE(wait_until([&] { return done == 100; }));
    EXPECT_EQ(server.questions(), 1u);
}

TEST(Resolver, AClientThatAsksForTooMuchLeavesRoomForOthers) {
    NameServer server(nullptr, "127.0.0.1", 0,
                      [](const std::string&, bool) { return DnsReply{.silent = true}; });
    Resolver resolver(servers_of(server));
    std::size_t taken = 0;
    for (int i = 0; i < 10'000; ++i)
        taken += resolver.ask({"n" + std::to_string(i) + ".example", Family::v4}, client, [] {});
    EXPECT_EQ(taken, questions_of_client_max);
    EXPECT_TRUE(resolver.ask({"www.example", Family::v4}, ip("10.0.0.2"), [] {}));
    for (int i = 0; i < 10'000; ++i)
        taken += resolver.ask({"m" + std::to_string(i) + ".example", Family::v4},
                              ip("10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250)), [] {});
    EXPECT_EQ(taken, questions_max - 1);
}

TEST(Resolver, OtherServersAnswerWhatIsUnderWayAndWhatTheOldOnesSaidIsForgotten) {
    NameServer old(nullptr, "127.0.0.1", 0, [](const std::string& name, bool) {
        return DnsReply{.addresses = {"192.0.2.1"}, .silent = name == "waits.example"};
    });
    NameServer fresh(nullptr, "127.0.0.1", 0,
                     [](const std::string&, bool) { return DnsReply{.addresses = {"192.0.2.2"}}; });
    Resolver resolver(servers_of(old));
    ASSERT_TRUE(ask(resolver, {"www.example", Family::v4}));
    std::atomic<bool> done = false;
    ASSERT_TRUE(resolver.ask({"waits.example", Family::v4}, client, [&] { done = true; }));
    ASSERT_TRUE(wait_until([&] { return old.questions() == 2; }));
    resolver.use(servers_of(fresh));
    EXPECT_TRUE(wait_until([&] { return done.load(); }));
    EXPECT_TRUE(resolver.look({"waits.example", Family::v4}, ip("192.0.2.2")).is_address);
    EXPECT_FALSE(resolver.look({"www.example", Family::v4}, ip("192.0.2.1")).is_address);
}

TEST(Resolver, StopsWhileQuestionsAreUnderWay) {
    NameServer server(nullptr, "127.0.0.1", 0,
                      [](const std::string&, bool) { return DnsReply{.silent = true}; });
    Resolver resolver(servers_of(server));
    bool told = false;
    EXPECT_TRUE(resolver.ask({"www.example", Family::v4}, client, [&] { told = true; }));
    resolver.stop();
    EXPECT_FALSE(told);
    EXPECT_FALSE(resolver.ask({"www.example", Family::v4}, client, [] {}));
}

TEST(Resolver, AnswersToOthersAreBelievedAsTheyStand) {
    Resolver resolver({});
    const auto overhear = [&](const std::string& message) {
        resolver.overhear(bytes(message), message.size());
    };
    const std::string good =
        test::dns_message(test::dns_query("WWW.Example"), {.addresses = {"192.0.2.1"}, .alias = "x.example"});
    overhear(good);
    EXPECT_TRUE(resolver.look({"www.example", Family::v4}, ip("192.0.2.1")).is_address);
    EXPECT_FALSE(resolver.look({"x.example", Family::v4}, ip("192.0.2.1")).is_address);
    const auto before = resolver.totals();
    // A question, trouble, an answer without addresses, bits of one, and an answer cut short anywhere.
    overhear(test::dns_query("www.example"));
    overhear(test::dns_message(test::dns_query("b.example"), {.addresses = {"192.0.2.2"}, .rcode = 2}));
    overhear(test::dns_message(test::dns_query("c.example"), {}));
    overhear("");
    for (std::size_t i = 0; i < good.size(); ++i)
        overhear(good.substr(0, i));
    EXPECT_EQ(resolver.totals().names, before.names);
    EXPECT_EQ(resolver.totals().addresses, before.addresses);
}

TEST(Resolver, AHugeAnswerIsBounded) {
    DnsReply reply;
    for (int i = 0; i < 4000; ++i)
        reply.addresses.push_back("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
    Resolver resolver({});
    const std::string message = test::dns_message(test::dns_query("www.example"), reply);
    resolver.overhear(bytes(message), message.size());
    EXPECT_GT(resolver.totals().addresses, 0u);
    EXPECT_LE(resolver.totals().addresses, EvidenceLimits().addresses_of_name);
}

}  // namespace
}  // namespace sluice::names
