#include "userspace/agent/config_reader.h"

#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

namespace sluice::agent {
namespace {

template <typename Read>
ConfigReader::Result result_of(Read read) {
    try {
        return read();
    } catch (const std::exception& exception) {
        return std::unexpected(exception.what());
    }
}

}  // namespace

bool ConfigReader::read(std::shared_ptr<const policy::Policy> last) {
    if (reading_) return false;
    in_thread([this, last = std::move(last)] {
        Result result = result_of([&] { return read_config(file_, last.get()); });
        if (result) read_ = result->list_files;
        return std::pair(Reading::file, std::move(result));
    });
    return true;
}

void ConfigReader::look_at_lists(std::shared_ptr<const policy::Policy> last) {
    if (reading_ || last->list_sources().lists.empty()) return;
    in_thread([this, last = std::move(last)] { return look_now(*last); });
}

std::pair<Reading, ConfigReader::Result> ConfigReader::look_now(const policy::Policy& last) {
    std::vector<policy::ListInfo> files = policy::list_files(last.list_sources());
    const bool changed = !policy::are_same_files(files, read_);
    const bool settled = policy::are_same_files(files, seen_);
    seen_ = std::move(files);
    if (!changed || !settled) return {Reading::nothing, Config{}};
    read_ = seen_;
    return {Reading::lists, result_of([&] { return reread_lists(last); })};
}

void ConfigReader::in_thread(Read read) {
    reading_ = true;
    thread_ = std::jthread([this, read = std::move(read)] {
        boost::asio::post(io_, [this, outcome = read()] {
            thread_.join();
            reading_ = false;
            done_(outcome.first, outcome.second);
        });
    });
}

}  // namespace sluice::agent
