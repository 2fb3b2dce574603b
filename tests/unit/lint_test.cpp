#include "policy/lint.h"

#include <gtest/gtest.h>

#include "policy/policy_file.h"

namespace sluice::policy {
namespace {

// One warning a line, as "LINE:COLUMN message"; the rules begin on line 3.
std::string warnings(const std::string& rules) {
    std::string out;
    for (const Warning& w :
         lint(read_policy(YamlReader::parse("p.yaml", "default: deny\nrules:\n" + rules)))) {
        out += std::to_string(w.line) + ":" + std::to_string(w.column) + " " + w.message + "\n";
    }
    return out;
}

TEST(Lint, AnOrdinaryPolicyHasNothingToWarnOf) {
    EXPECT_EQ(warnings(R"(
- {name: a, server_name: ['suffix:a.com', 'exact:a.com', 're:cdn[0-9]+\.a\.com', 're:.*\.b\.com'], action: allow}
- {name: b, server_name: 'suffix:b.com', source: 10.0.0.0/8, action: deny, style: alert}
- {name: c, server_name: 'suffix:b.com', action: deny, style: alert, protocol: [tls, ssh]}
- {name: d, action: allow}
)"),
              "");
}

TEST(Lint, ARuleBehindOneThatTakesAllIsNeverAsked) {
    EXPECT_EQ(warnings("- {name: all, action: deny}\n- {name: late, port: 22, action: deny}\n"),
              "4:3 rule \"late\" is never asked: every other flow matches \"all\" (line 3), which has no "
              "conditions\n");
    EXPECT_EQ(warnings("- {name: all, action: allow}\n- {name: late, port: 22, action: deny}\n"),
              "4:3 rule \"late\" is asked for malformed hellos only: every other flow matches \"all\" (line "
              "3), which has "
              "no conditions\n");
}

TEST(Lint, AnAlertCannotBeSentWithoutTls) {
    EXPECT_EQ(warnings("- {name: a, protocol: [ssh], action: deny, style: alert}\n"),
              "3:3 rule \"a\" has style: alert, but its protocol: leaves TLS out; such flows get a reset\n");
}

TEST(Lint, ANameNeedsAProtocolThatCarriesOne) {
    EXPECT_EQ(warnings("- {name: a, protocol: ssh, server_name: 'exact:a', action: deny}\n"),
              "3:3 rule \"a\" never matches: its protocol: leaves out all that carry a server name "
              "(TLS, HTTP, and what may turn to TLS)\n");
}

TEST(Lint, AnUnescapedDotInARegexIsHardlyMeant) {
    const char* careless[] = {"re:www.example.com", "re:.*.example\\.com", "re:(a|b).example\\.com"};
    for (std::string regex : careless) {
        EXPECT_NE(warnings("- {name: a, server_name: '" + regex + "', action: deny}\n").find("unescaped dot"),
                  std::string::npos)
            << regex;
    }
    const char* careful[] = {"re:www\\.example\\.com", "re:.*", "re:www[.]a", "re:[^].]a",
                             "re:a.*\\.com",           "re:a.?"};
    for (std::string regex : careful) {
        EXPECT_EQ(warnings("- {name: a, server_name: '" + regex + "', action: deny}\n"), "") << regex;
    }
}

// Without it the server of a silent client would not be dialled.
TEST(Lint, AProtocolThatMayTurnToTlsIsNoRepetition) {
    EXPECT_EQ(warnings("- {name: a, server_name: 'exact:a.com', action: allow}\n"
                       "- {name: b, server_name: 'exact:a.com', protocol: smtp, action: allow}\n"),
              "");
}

TEST(Lint, APatternThatIsAlreadyDecidedIsShadowed) {
    EXPECT_EQ(warnings("- {name: a, server_name: 'exact:a.com', action: deny}\n"
                       "- {name: b, server_name: 'exact:A.com.', action: allow}\n"),
              "4:3 rule \"b\" has \"exact:A.com.\", which rule \"a\" (line 3) has already decided\n");
    EXPECT_EQ(warnings("- {name: a, server_name: ['exact:a.com', 'exact:a.com'], action: deny}\n"),
              "3:3 rule \"a\" has \"exact:a.com\" twice\n");
    EXPECT_EQ(warnings("- {name: a, server_name: 'exact:a.com', port: 443, action: deny}\n"
                       "- {name: b, server_name: 'exact:a.com', action: allow}\n"),
              "");
}

}  // namespace
}  // namespace sluice::policy
