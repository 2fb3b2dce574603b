#pragma once
// Spliced flows without an agent: the packet splice's programs on the lab's gateway, which is a plain router
// otherwise, and entries made by hand. As the programs translate the handshake too, a flow can be entered
// before its client connects: then each end sees the other's numbers shifted, as after a real handover.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "tests/support/lab.h"
#include "tests/support/tcp_server.h"
#include "tests/support/tcp_socket.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_splice.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::test {

inline packet_tuple tuple_of(const policy::Endpoint& source, const policy::Endpoint& destination) {
    packet_tuple tuple{};
    datapath::packet_address(tuple.source, source.address.bytes().data(), source.address.is_v4());
    datapath::packet_address(tuple.destination, destination.address.bytes().data(),
                             destination.address.is_v4());
    tuple.source_port = htons(source.port);
    tuple.destination_port = htons(destination.port);
    return tuple;
}

// Both legs of a flow, and by how much their numbers differ.
struct LabFlow {
    std::uint64_t id = 1;
    policy::Endpoint client = endpoint("10.10.1.2:40000");
    policy::Endpoint dialled = endpoint("10.10.2.2:443");
    policy::Endpoint source = endpoint("10.10.1.2:40000");  // of the upstream leg
    policy::Endpoint server = endpoint("10.10.2.2:443");
    std::uint32_t client_shift =
        0x9abcdef0;  // the server's view of the client's sequence numbers, less the client's
    std::uint32_t server_shift = 0x7fffff00;
    std::uint32_t client_clock_shift = 0x13579bdf;
    std::uint32_t server_clock_shift = 0xfedcba98;
    std::string lan = "lan0";
    std::string wan = "wan0";
};

class PacketLab {
  public:
    explicit PacketLab(const LabOptions& lab_options = {},
                       const datapath::PacketSpliceOptions& options = {64, 0, 0})
        : lab_(lab_options), options_(options) {
        std::filesystem::create_directory(directory_);
        for (const Netns* netns : {&lab_.client(), &lab_.server()})
            netns->sysctl("net/ipv4/tcp_timestamps", "2");
        start();
    }
    ~PacketLab() {
        splice_.reset();
        lab_.gateway().run([&] { datapath::PacketSplice::remove_all(directory_); });
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    PacketLab(const PacketLab&) = delete;
    PacketLab& operator=(const PacketLab&) = delete;

    const Lab& lab() const { return lab_; }
    datapath::PacketSplice& splice() { return *splice_; }
    const std::string& directory() const { return directory_; }

    // The agent's life: everything pinned stays.
    void stop() { splice_.reset(); }
    void start() {
        lab_.gateway().run([&] {
            splice_ =
                std::make_unique<datapath::PacketSplice>(datapath::PacketSplice::own(directory_, options_));
        });
    }

    // TSval as the ends' stacks say it: with tcp_timestamps=2 the kernel's milliseconds, without a random
    // offset.
    static std::uint32_t clock_ms() {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        return static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
    }

    std::uint32_t ifindex(const std::string& name) const {
        return lab_.gateway().run([&] { return if_nametoindex(name.c_str()); });
    }

    datapath::PacketDirection up(const LabFlow& flow) const {
        datapath::PacketDirection up;
        up.arrives = tuple_of(flow.client, flow.dialled);
        up.route.leaves = tuple_of(flow.source, flow.server);
        up.route.seq_delta = flow.client_shift;
        up.route.ack_delta = 0U - flow.server_shift;
        up.route.tsval_delta = flow.client_clock_shift;
        up.route.tsecr_delta = 0U - flow.server_clock_shift;
        up.route.tsval_floor = clock_ms() + flow.client_clock_shift;
        up.route.tsecr_floor = clock_ms() - 10'000;
        up.route.ifindex = ifindex(flow.wan);
        return up;
    }
    datapath::PacketDirection down(const LabFlow& flow) const {
        datapath::PacketDirection down;
        down.arrives = tuple_of(flow.server, flow.source);
        down.route.leaves = tuple_of(flow.dialled, flow.client);
        down.route.seq_delta = flow.server_shift;
        down.route.ack_delta = 0U - flow.client_shift;
        down.route.tsval_delta = flow.server_clock_shift;
        down.route.tsecr_delta = 0U - flow.client_clock_shift;
        down.route.tsval_floor = clock_ms() + flow.server_clock_shift;
        down.route.tsecr_floor = clock_ms() - 10'000;
        down.route.ifindex = ifindex(flow.lan);
        return down;
    }

    std::expected<void, datapath::PacketRefusal> insert(const LabFlow& flow) {
        return splice_->insert({.id = flow.id,
                                .accepted_ns = 1,
                                .server_name = "www.example.com",
                                .rule = "all",
                                .protocol = static_cast<std::uint8_t>(policy::Protocol::tls),
                                .reason = SPLICE_REASON_automatic},
                               up(flow), down(flow));
    }

    bool kill(std::uint64_t id) {
        return lab_.gateway().run([&] { return splice_->kill(id); });
    }

    bool refuse(std::uint32_t slot, std::uint64_t id) {
        datapath::PacketFlow about;
        about.id = id;
        return lab_.gateway().run([&] { return splice_->refuse(slot, about); });
    }

    // The kernel's own entry; fails the test when there is none.
    packet_route route(const packet_tuple& key) const {
        packet_route route{};
        EXPECT_EQ(bpf_map_lookup_elem(splice_->map_fd("packet_routes"), &key, &route), 0) << "no such route";
        return route;
    }

    // The kernel's memory for the table, as it says itself; 0: it does not.
    std::uint64_t kernel_bytes() const {
        std::uint64_t sum = 0;
        for (const char* map : {"packet_routes", "packet_flows"}) {
            std::ifstream file("/proc/self/fdinfo/" + std::to_string(splice_->map_fd(map)));
            std::uint64_t bytes = 0;
            for (std::string word; file >> word;) {
                if (word == "memlock:" && file >> bytes) sum += bytes;
            }
        }
        return sum;
    }

    // For a flow whose handshake, and no more, has passed: its acknowledgements were of no payload.
    void start_counting(const LabFlow& flow) const {
        for (const packet_tuple& key : {up(flow).arrives, down(flow).arrives}) {
            EXPECT_TRUE(wait_until([&] { return route(key).ack != 0; }));
            packet_route started = route(key);
            started.ack_start = static_cast<__u32>(started.ack);
            started.ack = started.ack_start;
            bpf_map_update_elem(splice_->map_fd("packet_routes"), &key, &started, BPF_EXIST);
        }
    }

    // As it is listed; fails the test when it is not.
    flow_record listed(std::uint64_t id) {
        for (const flow_record& record : splice_->list()) {
            if (record.id == id) return record;
        }
        ADD_FAILURE() << "flow " << id << " is not listed";
        return {};
    }

  private:
    Lab lab_;
    datapath::PacketSpliceOptions options_;
    const std::string directory_ = "/sys/fs/bpf/sluice-test-packet-" + std::to_string(::getpid());
    std::unique_ptr<datapath::PacketSplice> splice_;
};

}  // namespace sluice::test
