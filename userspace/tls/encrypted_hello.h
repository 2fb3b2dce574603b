#pragma once
// The encrypted_client_hello extension (RFC 9849 5), as far as an observer can read it.
//
// GREASE is made so that nobody on the path can tell it from the real thing (RFC 9849 6.2 and 10.10.4): the
// same form, the same lengths, random bytes. One sign is left: a real outer hello carries the public name of
// the server's ECH configuration as its server name (6.1), GREASE the name that the client wants. So an outer
// form is called `outer` when its server name is the public name of a known provider, and `grease` otherwise.
// Most are: browsers send GREASE with every hello.
//
// What follows for a policy: `outer` is certain, `grease` is not. A provider that is not in the list is seen
// as its public name, and a rule on that name decides, as it would for any client that lies about its name.
#include <string_view>

#include "userspace/tls/byte_reader.h"
#include "userspace/tls/client_hello.h"

namespace sluice::tls {

// Whether `server_name`, as normalized, is the public name of a known provider of ECH.
bool is_ech_public_name(std::string_view server_name);

// Reads the extension's data. `ech` becomes none for the inner form and `grease` for the outer one; the
// caller looks at the name. Returns what is wrong, a static text, empty when nothing is.
std::string_view read_encrypted_hello(Bytes data, Ech& ech);

}  // namespace sluice::tls
