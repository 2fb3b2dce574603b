// ClientHellos of any size and in any pieces are waited for and passed on byte for byte; those that cannot be
// judged are refused, logged by what was wrong with them, and hold up nobody else.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/real_clients.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {hello_bytes_max: 65536, hello_deadline_ms: 600, silence_ms: 100}
policy:
  default: deny
  rules:
    - {name: good, server_name: "exact:allowed.example", action: allow}
)";

constexpr const char* patient_policy = R"(
peek: {hello_deadline_ms: 30000, silence_ms: 5000}
policy:
  default: deny
  rules: [{name: good, server_name: "exact:allowed.example", action: allow}]
)";

class Hello : public testing::Test {
  protected:
    // A flow that behaves: passes at once, whatever others are up to.
    void expect_service() {
        const std::string hello = build_hello();
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
        client.send(hello);
        EXPECT_EQ(client.receive_exactly(hello.size()), hello);
    }

    // Sends `bytes` and leaves the connection open; the end of the flow, as logged. The client must hear an
    // RST.
    JsonRecord expect_refusal(const std::string& bytes, std::string_view end) {
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
        client.send(bytes);
        expect_service();
        const JsonRecord record = gateway_.wait_for("end", client.local());
        EXPECT_EQ(record.text("end"), end) << record;
        EXPECT_EQ(record.text("decision"), "deny");
        const Received heard = client.receive_to_end();
        EXPECT_EQ(heard.bytes, "");
        EXPECT_EQ(heard.end, StreamEnd::reset);
        return record;
    }

    Lab lab_;
    TcpServer server_{lab_.server(), 443, TcpServer::echo};
    Gateway gateway_{lab_, policy};
};

TEST_F(Hello, OfAnySizeInAnyPiecesArrivesByteForByte) {
    // Every piece waits for its acknowledgement: on a busy machine that takes a while.
    gateway_.stop();
    gateway_.write_config(patient_policy);
    gateway_.start();
    struct Case {
        const char* what;
        HelloShape shape;
        std::size_t segment_bytes;
    };
    const std::vector<Case> cases = {
        {"in one piece", {}, 100'000},
        {"one byte at a time", {}, 1},
        {"post-quantum size in two segments", {.bytes = 1'800}, 1'400},
        {"post-quantum size in small segments", {.bytes = 1'800}, 100},
        {"16 KiB", {.bytes = 16'384}, 1'448},
        {"at the limit, in five records", {.bytes = 65'536}, 1'448},
        {"in records of one byte", {.records = std::vector<std::size_t>(150, 1)}, 100'000},
        {"first record empty", {.records = {0}}, 100'000},
        {"empty records in between", {.records = {1, 0, 3, 0, 0, 100}}, 100'000},
        {"empty records, one byte at a time", {.records = {2, 0, 50, 0}}, 1},
        {"segments across record borders", {.bytes = 4'000, .records = {700, 700, 0, 700}}, 999},
    };
    for (const Case& one : cases) {
        SCOPED_TRACE(one.what);
        const std::string hello = build_hello(one.shape);
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
        send_in_segments(client, hello, one.segment_bytes);
        EXPECT_EQ(client.receive_exactly(hello.size()), hello);
        const JsonRecord verdict = gateway_.wait_for("verdict", client.local());
        EXPECT_EQ(verdict.text("server_name"), "allowed.example");
        client.close();
        const JsonRecord end = gateway_.wait_for("end", endpoint(verdict.text("source")));
        EXPECT_EQ(end.number("bytes_up"), hello.size());
        EXPECT_EQ(end.number("bytes_down"), hello.size());
    }
}

TEST_F(Hello, FollowedAtOnceByDataLosesNone) {
    const std::string bytes = build_hello() + ByteStream(1).next(300'000);
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    client.send(bytes);
    EXPECT_EQ(sha256(client.receive_exactly(bytes.size())), sha256(bytes));
}

TEST_F(Hello, TooLongIsRefused) {
    expect_refusal(build_hello({.bytes = 70'000}), "hello_too_long");
}

TEST_F(Hello, ThatContradictsItselfIsRefused) {
    std::string lying = build_hello();
    lying[8] = static_cast<char>(lying[8] - 1);  // the message ends before its extensions do
    expect_refusal(lying, "hello_malformed");
    std::string two_names = build_hello();
    two_names.replace(two_names.find("allowed.example"), 15, std::string("allowed\0example", 15));
    expect_refusal(two_names, "hello_malformed");
    expect_refusal(std::string("\x16\x03\x01\xff\xff\x01", 6) + std::string(1000, 'x'), "hello_malformed");
}

TEST_F(Hello, HalfOfOneThenSilenceIsRefusedAtTheDeadline) {
    const std::string hello = build_hello();
    const JsonRecord record = expect_refusal(hello.substr(0, hello.size() / 2), "hello_incomplete");
    EXPECT_GE(record.number("total_ms"), 600u);
    EXPECT_LT(record.number("total_ms"), 3'000u);
    expect_refusal(hello.substr(0, 1), "hello_incomplete");
    expect_refusal(hello.substr(0, hello.size() - 1), "hello_incomplete");
}

TEST_F(Hello, HalfOfOneThenFinIsRefusedAtOnce) {
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    client.send(build_hello().substr(0, 60));
    client.shutdown_write();
    const JsonRecord record = gateway_.wait_for("end", client.local());
    EXPECT_EQ(record.text("end"), "hello_incomplete");
    EXPECT_LT(record.number("total_ms"), 500u);
    EXPECT_NE(client.receive_to_end().end, StreamEnd::silence);
}

TEST_F(Hello, DrippedByteByByteCannotOutlastTheDeadline) {
    const std::string hello = build_hello();
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    const policy::Endpoint source = client.local();
    const int error = errno_of([&] {
        for (const char byte : hello) {
            client.send({&byte, 1});
            expect_service();
            std::this_thread::sleep_for(20ms);  // the misbehaviour under test, not a wait
        }
    });
    EXPECT_TRUE(error == ECONNRESET || error == EPIPE) << error;
    const JsonRecord record = gateway_.wait_for("end", source);
    EXPECT_EQ(record.text("end"), "hello_incomplete");
    EXPECT_GE(record.number("total_ms"), 600u);
    EXPECT_LT(record.number("total_ms"), 3'000u);
}

TEST(HelloEvasion, OneByteThenAPauseIsNoWayAroundTheRulesOnNames) {
    const Lab lab;
    std::atomic<std::size_t> heard = 0;
    TcpServer server(lab.server(), 443,
                     [&](TcpSocket& socket) { heard += socket.receive_to_end().bytes.size(); });
    Gateway gateway(lab, R"(
peek: {silence_ms: 100, hello_deadline_ms: 2000}
policy:
  default: allow
  rules: [{name: bad, server_name: "exact:denied.example", action: deny}]
)");
    const std::string hello = build_hello({.server_name = "denied.example"});
    for (const std::size_t first : {1ul, 2ul, 3ul, 6ul}) {
        SCOPED_TRACE(first);
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
        const policy::Endpoint source = client.local();
        client.send(hello.substr(0, first));
        std::this_thread::sleep_for(400ms);  // the misbehaviour under test, not a wait
        errno_of([&] { client.send(hello.substr(first)); });
        errno_of([&] { client.shutdown_write(); });
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        const JsonRecord end = gateway.wait_for("end", source);
        EXPECT_EQ(end.text("decision"), "deny") << end;
    }
    EXPECT_EQ(heard, 0u);
}

TEST_F(Hello, GarbageIsJudgedAsSuch) {
    for (const std::string& garbage :
         {ByteStream(7).next(5'000), std::string(1, '\1'), std::string(4096, '\xff')}) {
        const JsonRecord record = expect_refusal(garbage, "denied");
        EXPECT_EQ(record.text("protocol"), "other");
    }
}

// Some servers skip a stray record, or do not look at its version, and take the hello behind it.
TEST_F(Hello, BehindAnotherRecordOrUnderAnotherVersionIsMalformed) {
    const std::string hello = build_hello();
    const std::string change_cipher_spec("\x14\x03\x01\x00\x01\x01", 6);
    const std::string warning("\x15\x03\x01\x00\x02\x01\x00", 7);
    std::string old_version = hello;
    old_version[1] = 2;
    for (const std::string& stream : {change_cipher_spec + hello, warning + hello, old_version}) {
        EXPECT_EQ(expect_refusal(stream, "hello_malformed").text("protocol"), "malformed");
    }
}

// Too little to tell the protocol by, and then a pause: no way around the rules on protocols either.
TEST_F(Hello, HalfAWordThenSilenceIsRefusedAtTheDeadline) {
    for (const char* word : {"G", "SSH", "POS"})
        expect_refusal(word, "hello_incomplete");
}

TEST_F(Hello, ClientThatVanishesBeforeItsVerdictIsLoggedAsGone) {
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    const policy::Endpoint source = client.local();
    client.send(build_hello().substr(0, 50));
    client.reset();
    EXPECT_EQ(gateway_.wait_for("end", source).text("end"), "client_gone");
    expect_service();
}

TEST_F(Hello, WaitingForTheRestDoesNotSpin) {
    const milliseconds before = gateway_.agent().cpu_time();
    const std::string hello = build_hello();
    expect_refusal(hello.substr(0, hello.size() / 2), "hello_incomplete");  // 600 ms of waiting
    EXPECT_LT((gateway_.agent().cpu_time() - before).count(), sanitized() ? 300 : 100);
}

TEST(RealHello, OfManyRecordsFromOpenSslIsServed) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, policy);
    // 255-byte protocol names push a real hello to the size of a post-quantum one, and then over two records.
    for (const int names : {8, 63}) {
        std::string alpn = "http/1.1";
        for (int name = 0; name < names; ++name)
            alpn += "," + std::to_string(1000 + name) + std::string(251, 'x');
        const Finished openssl =
            run_openssl_client(lab.client(), "allowed.example", nginx.certificate(), {"-alpn", alpn});
        EXPECT_NE(openssl.out.find("allowed.example 10.10.1.2 "), std::string::npos)
            << openssl.out << openssl.err;
        const JsonRecord verdict = gateway.wait_for("verdict", [&](const JsonRecord& record) {
            return record.number("hello_bytes") > static_cast<std::uint64_t>(names) * 250;
        });
        EXPECT_EQ(verdict.text("records"), names == 8 ? "1" : "2");
    }
}

TEST(RealHello, OfChromiumWithPostQuantumKeysIsServed) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, policy);
    const Finished chromium = run_chromium(lab.client(), "allowed.example");
    EXPECT_NE(chromium.out.find("allowed.example 10.10.1.2 "), std::string::npos)
        << chromium.out << chromium.err;
    const JsonRecord verdict = gateway.wait_for("verdict");
    EXPECT_EQ(verdict.text("server_name"), "allowed.example");
    EXPECT_GT(verdict.number("hello_bytes"), 1'500u);
    EXPECT_EQ(verdict.text("ech"), "grease");
}

}  // namespace
}  // namespace sluice::test
