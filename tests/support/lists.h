#pragma once
// Lists of names for policies, without files.
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/list_catalog.h"
#include "policy/name_set_builder.h"

namespace sluice::test {

struct NamedList {
    const char* name;
    const char* category;
    std::vector<std::string> names;  // each with all names below it
};

inline std::shared_ptr<const policy::ListCatalog> make_lists(std::initializer_list<NamedList> lists) {
    std::vector<policy::ListInfo> infos;
    policy::NameSetBuilder builder;
    for (const NamedList& list : lists) {
        for (const std::string& name : list.names)
            builder.add(name, infos.size(), policy::NameReach::subtree);
        infos.push_back(
            {.list = list.name, .category = list.category, .path = {}, .names = list.names.size()});
    }
    policy::NameSet names = builder.build(policy::ListCatalog::notes_of(infos));
    return std::make_shared<const policy::ListCatalog>(std::move(infos), std::move(names));
}

}  // namespace sluice::test
