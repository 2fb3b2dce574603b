#pragma once
// How the policy is replaced while the agent runs: when somebody asks, and when the files of its lists
// change. And what becomes of the flows that live meanwhile.
//
// No flow is judged by halves of two policies, and none slips through between them: first the new one takes
// its place, then each worker judges again what it has, on its own thread, and only then what is spliced as
// packets is looked at, where a flow that had been let in before can have gone in between.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "userspace/agent/config_reader.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/neighbours.h"

namespace sluice::agent {

using Workers = std::vector<std::unique_ptr<Worker>>;

// On the agent's own thread; all that it is made of must outlive it.
class PolicyReload {
  public:
    // `config_file` may be empty: then there is nothing to read again.
    PolicyReload(boost::asio::io_context& io, Shared& shared, const Workers& workers,
                 std::string config_file);

    // `first`: what shared.policy was read with. Looks at its lists from now on, and at the flows of an
    // earlier agent.
    void start(const Config& first);
    void request();                                    // now, or after the reading that goes on
    std::uint32_t count() const { return count_; }     // policies that took the place of another
    bool was_refused() const { return was_refused_; }  // what was read last: another is in force

    // How a packet-spliced flow has ended whose end was read as `end`: who kills it here is not known there.
    flow_end why_ended(std::uint64_t flow_id, flow_end end);

  private:
    struct Rejudging;

    void finish(Reading reading, const ConfigReader::Result& fresh);
    void report(Reading reading, const ConfigReader::Result& fresh);
    void warn_of_lists(const Config& config);
    void look_at_lists_regularly();
    void rejudge(bool adopted_only);
    void rejudge_packets(std::shared_ptr<Rejudging> state);

    boost::asio::io_context& io_;
    Shared& shared_;
    const Workers& workers_;
    const std::string config_file_;
    ConfigReader reader_;
    boost::asio::steady_timer lists_timer_;
    datapath::Neighbours neighbours_;
    std::unordered_set<std::uint64_t> cut_;  // packet-spliced flows whose end has not been read yet
    std::uint32_t count_ = 0;
    bool was_refused_ = false;
    bool again_ = false;  // somebody asked while it was being read
};

}  // namespace sluice::agent
