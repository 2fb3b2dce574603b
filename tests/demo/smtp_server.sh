#!/bin/bash
# As much of SMTP (RFC 5321) as a client needs to hand over one mail; socat gives it a connection as stdin and stdout.
# The server speaks first, and what arrives goes nowhere.
set -euo pipefail

reply() { printf '%s\r\n' "$@"; }

reply "220 mail.example.com ready"
while IFS= read -r line; do
    line=${line%$'\r'}
    case ${line^^} in
        DATA)
            reply "354 end with a dot"
            while IFS= read -r line && [[ $line != $'.\r' ]]; do :; done
            reply "250 taken"
            ;;
        QUIT)
            reply "221 bye"
            exit
            ;;
        *) reply "250 ok" ;;
    esac
done
