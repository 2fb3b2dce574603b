#pragma once
// Reads the configuration again, in a thread of its own: lists of millions of names take seconds, in which
// the agent must not be deaf to those who flush its rules, to killed flows and to signals.
#include <boost/asio/io_context.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "userspace/agent/config.h"

namespace sluice::agent {

class ConfigReader {
  public:
    using Result = std::expected<Config, std::string>;  // or what is wrong, in one line
    using Done = std::function<void(const Result&)>;

    // `done` is called by `io`, once for each reading; both must outlive this object, which waits for the
    // reading that goes on.
    ConfigReader(boost::asio::io_context& io, std::string file, Done done)
        : io_(io), file_(std::move(file)), done_(std::move(done)) {}

    // `last`: the policy so far, as for read_config(). False: a reading goes on, and what it has read may be
    // old by now; ask again when it is done.
    bool read(std::shared_ptr<const policy::Policy> last);

  private:
    Result read_now(const policy::Policy* last) const;

    boost::asio::io_context& io_;
    const std::string file_;
    const Done done_;
    bool reading_ = false;
    std::jthread thread_;
};

}  // namespace sluice::agent
