#include "file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "failure.hpp"

namespace roastery {

std::string read_file(const std::string& path, const std::string& what) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) {
        throw Failure(path + ": no " + what + " there (" + std::strerror(errno) + "); correct the path");
    }
    // A pipe or a device need have no end.
    if (!S_ISREG(status.st_mode)) throw Failure(path + ": is no regular file; name the file of the " + what);
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    if (!stream || (status.st_size > 0 && content.tellp() <= 0)) {
        throw Failure(path + ": the " + what + " cannot be read; look at its permissions and the disk");
    }
    return content.str();
}

void write_file(const std::string& path, const std::string& content) {
    const std::string temporary = path + "." + std::to_string(getpid()) + ".part";
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream.write(content.data(), static_cast<std::streamsize>(content.size()));
    stream.close();
    if (!stream || std::rename(temporary.c_str(), path.c_str()) != 0) {
        const std::string why = std::strerror(errno);
        std::remove(temporary.c_str());
        throw Failure(path + ": cannot be written (" + why + "); choose another --output or make room there");
    }
}

void make_folder(const std::string& path) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        struct stat status;
        if (mkdir(part.c_str(), 0777) != 0 && (stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))) {
            throw Failure(path + ": the folder cannot be made (" + std::strerror(errno) + "); choose another --output");
        }
        if (end == std::string::npos) return;
    }
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace roastery
