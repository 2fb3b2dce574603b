#include "userspace/agent/config_reader.h"

#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

namespace sluice::agent {

bool ConfigReader::read(std::shared_ptr<const policy::Policy> last) {
    if (std::exchange(reading_, true)) return false;
    thread_ = std::jthread([this, last = std::move(last)] {
        boost::asio::post(io_, [this, result = read_now(last.get())] {
            thread_.join();
            reading_ = false;
            done_(result);
        });
    });
    return true;
}

ConfigReader::Result ConfigReader::read_now(const policy::Policy* last) const {
    try {
        return read_config(file_, last);
    } catch (const std::exception& exception) {
        return std::unexpected(exception.what());
    }
}

}  // namespace sluice::agent
