#include "userspace/cli/flow_filter.h"

#include <gtest/gtest.h>

#include <cstring>

#include "policy/protocol.h"
#include "userspace/cli/flow_view.h"

namespace sluice::cli {
namespace {

flow_record sample() {
    flow_record flow{};
    flow.id = 17;
    flow.source = {.address = {10, 1, 2, 3}, .is_v4 = 1, .unused = 0, .port = 40000};
    flow.destination = {.address = {192, 0, 2, 7}, .is_v4 = 1, .unused = 0, .port = 443};
    flow.protocol = static_cast<__u8>(policy::Protocol::tls);
    flow.mode = SPLICE_MODE_relay;
    flow.state = FLOW_STATE_spliced;
    std::strcpy(flow.server_name, "www.example.com");
    std::strcpy(flow.rule, "default");
    std::strcpy(flow.facts, "to=192.0.2.7:443 via=connect asked=asked.example");
    return flow;
}

bool shows(std::vector<std::string> terms) {
    const auto filter = FlowFilter::parse(terms);
    EXPECT_TRUE(filter.has_value()) << filter.error();
    return filter && filter->matches(sample());
}

TEST(FlowFilter, WithoutTermsEveryFlowIsShown) {
    EXPECT_TRUE(shows({}));
}

TEST(FlowFilter, EachColumnCanBeAskedFor) {
    for (const char* term :
         {"id=17", "source=10.0.0.0/8", "destination=192.0.2.7", "port=443", "protocol=tls", "mode=relay",
          "state=spliced", "rule=default", "server_name=www.example.com", "server_name=suffix:example.com",
          "via=connect", "example", "asked.ex", "10.1.2.3:40000"}) {
        EXPECT_TRUE(shows({term})) << term;
    }
    for (const char* term : {"id=1", "source=11.0.0.0/8", "source=::/0", "port=80", "protocol=server-first",
                             "mode=packet", "state=peeking", "rule=x", "via=captured", "via=socks5",
                             "server_name=example.com", "nothing-like-it"}) {
        EXPECT_FALSE(shows({term})) << term;
    }
}

TEST(FlowFilter, AllTermsMustHold) {
    EXPECT_TRUE(shows({"port=443", "example"}));
    EXPECT_FALSE(shows({"port=443", "port=80"}));
}

TEST(FlowFilter, AMistakeIsNamed) {
    EXPECT_EQ(FlowFilter::parse({"colour=red"}).error(),
              "'colour' is not a column: expected id, source, destination, port, server_name, protocol, "
              "via, rule, mode or state");
    EXPECT_EQ(FlowFilter::parse({"via=proxy"}).error(),
              "'proxy' is not known: expected captured, connect or socks5");
    EXPECT_EQ(FlowFilter::parse({"port=http"}).error(), "'http' is not a number");
    EXPECT_EQ(FlowFilter::parse({"state=open"}).error(),
              "'open' is not known: expected peeking, connecting, waiting, spliced or resolving");
    EXPECT_FALSE(FlowFilter::parse({"mode=relais"}));
    EXPECT_FALSE(FlowFilter::parse({"protocol=server_first"}));
    EXPECT_EQ(FlowFilter::parse({"source=10.0.0.1/8"}).error(), "'10.0.0.1/8' is not an address or prefix");
}

// Else nothing ends, and whoever wrote it does not see that.
TEST(FlowFilter, AMisspeltVerbIsNoFilter) {
    for (const char* verb : {"kil", "Kill", "klil", "kills", "end", "delete"})
        EXPECT_FALSE(FlowFilter::parse({verb, "3"})) << verb;
    EXPECT_EQ(FlowFilter::parse({"kil", "3", "4"}).error(),
              "'kil' is not known: `sluice flows kill 3` ends that flow, `sluice flows id=3` shows it");
    EXPECT_TRUE(FlowFilter::parse({"example", "443"}));
    EXPECT_TRUE(FlowFilter::parse({"kil"}));
    EXPECT_TRUE(FlowFilter::parse({"end", "port=3"}));
}

TEST(FlowView, HowAFlowCameAndTheNameAskedForAreShown) {
    flow_record flow = sample();
    EXPECT_TRUE(table({flow}, 0).contains("connect (asked.example)"));
    fmt::memory_buffer json;
    append_json(json, flow, 0);
    EXPECT_TRUE(fmt::to_string(json).contains(R"("via":"connect","asked_name":"asked.example")"));
    std::strcpy(flow.facts, "to=192.0.2.7:443 via=socks5 asked=-");
    EXPECT_TRUE(table({flow}, 0).contains("socks5  default")) << "asked for its server name";
    json.clear();
    append_json(json, flow, 0);
    EXPECT_TRUE(fmt::to_string(json).contains(R"("via":"socks5","asked_name":"www.example.com")"));
    flow.facts[0] = 0;
    EXPECT_TRUE(table({flow}, 0).contains("captured  default"));
}

TEST(FlowView, DurationsAndSizesReadAsPeopleSayThem) {
    EXPECT_EQ(human_duration(300'000'000), "0.3s");
    EXPECT_EQ(human_duration(303'000'000'000), "5m03s");
    EXPECT_EQ(human_duration(7'800'000'000'000), "2h10m");
    EXPECT_EQ(human_bytes(512), "512 B");
    EXPECT_EQ(human_bytes(1'468'006), "1.4 MiB");
}

}  // namespace
}  // namespace sluice::cli
