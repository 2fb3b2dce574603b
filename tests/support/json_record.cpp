#include "tests/support/json_record.h"

#include <boost/json/src.hpp>
#include <ostream>
#include <stdexcept>

namespace sluice::test {

namespace {

std::string plain(const boost::json::value& value) {
    return value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value);
}

void flatten(const std::string& prefix, const boost::json::object& object,
             std::map<std::string, std::string>& into) {
    for (const auto& [key, value] : object) {
        const std::string name = prefix + std::string(key);
        if (value.is_object()) {
            flatten(name + ".", value.get_object(), into);
        } else if (value.is_array()) {
            std::string joined;
            for (const auto& element : value.get_array())
                joined += (joined.empty() ? "" : ",") + plain(element);
            into[name] = joined;
        } else {
            into[name] = plain(value);
        }
    }
}

boost::json::value parse_json(std::string_view text) {
    boost::system::error_code error;
    boost::json::value value = boost::json::parse({text.data(), text.size()}, error);
    if (error) throw std::runtime_error("not JSON (" + error.message() + "): " + std::string(text));
    return value;
}

}  // namespace

JsonRecord JsonRecord::parse(std::string_view text) {
    const boost::json::value value = parse_json(text);
    if (!value.is_object()) throw std::runtime_error("not a JSON object: " + std::string(text));
    JsonRecord record;
    flatten("", value.get_object(), record.values_);
    return record;
}

std::vector<JsonRecord> JsonRecord::parse_all(std::string_view text) {
    std::vector<JsonRecord> records;
    if (text.starts_with('[')) {
        const boost::json::value value = parse_json(text);
        for (const auto& element : value.get_array())
            records.push_back(parse(boost::json::serialize(element)));
        return records;
    }
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        if (end != 0) records.push_back(parse(text.substr(0, end)));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return records;
}

std::string JsonRecord::text(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? std::string() : found->second;
}

std::uint64_t JsonRecord::number(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) throw std::runtime_error("no \"" + key + "\" in a JSON record");
    return static_cast<std::uint64_t>(std::stod(found->second));
}

std::ostream& operator<<(std::ostream& out, const JsonRecord& record) {
    for (const auto& [key, value] : record.values())
        out << key << '=' << value << ' ';
    return out;
}

}  // namespace sluice::test
