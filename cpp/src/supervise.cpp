#include "supervise.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace roastery {
namespace {

int in_child(const std::function<int(std::FILE*)>& work, pid_t parent) {
    // Not to outlive a parent that is killed.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 2;
    std::signal(SIGPIPE, SIG_IGN);
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    std::FILE* report = fdopen(dup(STDERR_FILENO), "w");
    const int null = open("/dev/null", O_WRONLY);
    if (report == nullptr || null < 0 || dup2(null, STDERR_FILENO) < 0) return 2;
    const int code = work(report);
    std::fflush(report);
    return code;
}

}  // namespace

int supervise(const std::function<int(std::FILE*)>& work, const std::string& name) {
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
        const int code = in_child(work, parent);
        std::fflush(stdout);
        // Without the destructors of Caffe2's libraries.
        _exit(code);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (child > 0 && WIFEXITED(status)) return WEXITSTATUS(status);
    const char* why = child < 0 ? std::strerror(errno) : strsignal(WTERMSIG(status));
    std::fprintf(stderr,
                 "caffe2_detect: %s: genuine Caffe2 crashed (%s); run it on another image, or convert it again\n",
                 name.c_str(), why);
    return 2;
}

}  // namespace roastery
