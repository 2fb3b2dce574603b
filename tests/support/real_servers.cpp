#include "tests/support/real_servers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <stdexcept>

#include "tests/support/byte_stream.h"
#include "tests/support/wait.h"

namespace sluice::test {

namespace {

void must_run(const std::vector<std::string>& argv) {
    const Finished finished = run_process(argv);
    if (finished.exit_code != 0) throw std::runtime_error(argv[0] + ": " + finished.err);
}

std::unique_ptr<Process> start_server(const Netns& netns, const std::vector<std::string>& argv,
                                      std::uint16_t port) {
    auto process = std::make_unique<Process>(argv, ProcessOptions{.netns = &netns});
    wait_until([&] { return is_listening(netns, port) || !process->running(); });
    if (!process->running()) throw std::runtime_error(argv[0] + " ended: " + process->err() + process->out());
    return process;
}

std::string nginx_config(const std::string& directory, const std::vector<std::string>& server_names) {
    std::string names;
    for (const std::string& name : server_names)
        names += " " + name;
    return "daemon off;\nmaster_process off;\npid " + directory + "/nginx.pid;\nerror_log " + directory +
           "/error.log;\nevents { worker_connections 1024; }\nhttp {\n  access_log off;\n  "
           "client_body_temp_path " +
           directory + "/body;\n  proxy_temp_path " + directory + "/proxy;\n  fastcgi_temp_path " +
           directory + "/fastcgi;\n  uwsgi_temp_path " + directory + "/uwsgi;\n  scgi_temp_path " +
           directory +
           "/scgi;\n  large_client_header_buffers 8 64k;\n  server {\n    listen 443 ssl default_server;\n   "
           " listen [::]:443 ssl default_server;\n" +
           "    server_name" + names + ";\n    ssl_certificate " + directory + "/certificate.pem;\n" +
           "    ssl_certificate_key " + directory +
           "/key.pem;\n    ssl_protocols TLSv1.2 TLSv1.3;\n    root " + directory + "/files;\n" +
           "    location = / { return 200 \"$ssl_server_name $remote_addr $remote_port\\n\"; }\n" +
           "    location = /bytes { }\n  }\n}\n";
}

}  // namespace

bool is_listening(const Netns& netns, std::uint16_t port) {
    char pattern[8];
    std::snprintf(pattern, sizeof pattern, ":%04X ", static_cast<unsigned>(port));
    for (const char* path : {"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"}) {
        std::ifstream file = netns.run([&] { return std::ifstream(path); });
        for (std::string line; std::getline(file, line);) {
            const std::size_t local = line.find(pattern);
            if (local != std::string::npos && line.find(" 0A ", local) != std::string::npos) return true;
        }
    }
    return false;
}

Nginx::Nginx(const Netns& netns, const std::vector<std::string>& server_names, std::size_t file_bytes) {
    const std::string directory = directory_.path().string();
    certificate_ = directory + "/certificate.pem";
    std::string names;
    for (const std::string& name : server_names)
        names += (names.empty() ? "DNS:" : ",DNS:") + name;
    must_run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
              "-days", "2", "-subj", "/CN=" + server_names.front(), "-addext", "subjectAltName=" + names,
              "-keyout", directory + "/key.pem", "-out", certificate_});
    std::filesystem::create_directory(directory + "/files");
    if (file_bytes > 0) {
        std::ofstream file(directory + "/files/bytes", std::ios::binary);
        file << ByteStream(1).next(file_bytes);
    }
    const std::string config = directory_.write("nginx.conf", nginx_config(directory, server_names));
    // Its worker may run as another user, who must get through to the files.
    std::filesystem::permissions(directory_.path(), std::filesystem::perms::others_exec,
                                 std::filesystem::perm_options::add);
    process_ =
        start_server(netns, {"nginx", "-c", config, "-e", directory + "/error.log", "-p", directory}, 443);
}

Sshd::Sshd(const Netns& netns) {
    const std::string directory = directory_.path().string();
    identity_ = directory + "/identity";
    for (const std::string& key : {identity_, directory + "/host_key"}) {
        must_run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key});
    }
    ::mkdir("/run/sshd", 0755);  // its privilege separation directory; Debian's unit makes it at boot
    const std::string config = directory_.write(
        "sshd_config", "HostKey " + directory + "/host_key\nAuthorizedKeysFile " + identity_ +
                           ".pub\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no\n"
                           "SetEnv HOME=" +
                           directory + "\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n");
    process_ = start_server(netns, {"/usr/sbin/sshd", "-D", "-e", "-f", config}, 22);
}

std::vector<std::string> Sshd::client() const {
    return {"ssh",
            "-F",
            "none",
            "-i",
            identity_,
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-l",
            "root"};
}

}  // namespace sluice::test
