#pragma once
// Reads the configuration again, or the lists alone, in a thread of its own: lists of millions of names take
// seconds, in which the agent must not be deaf to those who flush its rules, to killed flows and to signals.
#include <boost/asio/io_context.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "userspace/agent/config.h"

namespace sluice::agent {

// What was read: the whole file, only the lists that the policy names, or nothing, as no list has changed.
enum class Reading : std::uint8_t { file, lists, nothing };

class ConfigReader {
  public:
    using Result = std::expected<Config, std::string>;  // or what is wrong, in one line
    using Done = std::function<void(Reading, const Result&)>;

    // `done` is called by `io`, once for each reading; both must outlive this object, which waits for the
    // reading that goes on.
    ConfigReader(boost::asio::io_context& io, std::string file, Done done)
        : io_(io), file_(std::move(file)), done_(std::move(done)) {}

    // The lists as they were when they were read first.
    void start(std::vector<policy::ListInfo> files) { read_ = std::move(files); }

    // `last`: the policy so far, as for read_config(). False: a reading goes on, and what it has read may be
    // old by now; ask again when it is done.
    bool read(std::shared_ptr<const policy::Policy> last);

    // Reads the lists of `last` again when some have changed since they were read, whatever came of that, and
    // are now as they were at the last look. Does nothing while a reading goes on.
    void look_at_lists(std::shared_ptr<const policy::Policy> last);

  private:
    using Read = std::function<std::pair<Reading, Result>()>;
    void in_thread(Read read);
    std::pair<Reading, Result> look_now(const policy::Policy& last);

    boost::asio::io_context& io_;
    const std::string file_;
    const Done done_;
    bool reading_ = false;
    std::vector<policy::ListInfo>
        read_;  // the files at the last reading, and at the last look; of whoever reads
    std::vector<policy::ListInfo> seen_;
    std::jthread thread_;
};

}  // namespace sluice::agent
