/* Files by their paths: what is followed, what is refused, what is left. */
#include "../../src/files.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/bulkjob-test-XXXXXX";

/* The path of a name in the test's own directory; the last few stay valid. */
static const char *at(const char *name)
{
    static char paths[8][64];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    CHECK(f && fputs(text, f) >= 0);
    if (f)
        fclose(f);
}

static int holds(const char *name, const char *text)
{
    char found[256] = "";
    FILE *f = fopen(at(name), "r");
    if (!f)
        return 0;
    found[fread(found, 1, sizeof found - 1, f)] = '\0';
    fclose(f);
    return strcmp(found, text) == 0;
}

static int is_there(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

/* Writes a whole file as a save does. 0, or why not. */
static int save(const char *name, const char *text)
{
    struct output o;
    int why = output_begin(&o, at(name));
    if (why)
        return why;
    CHECK(output_write(&o, text, strlen(text), &why) == (ssize_t)strlen(text));
    return output_publish(&o);
}

static void test_input(void)
{
    off_t size = 0;
    int why = 0;
    put("a", "12345");
    int fd = file_open_input(at("a"), &size, &why);
    CHECK(fd >= 0 && size == 5 && why == 0);
    close(fd);
    CHECK(file_open_input(at("none"), &size, &why) < 0 && why == ENOENT);
    CHECK(file_open_input(directory, &size, &why) < 0 && why == EISDIR);
    CHECK(mkfifo(at("pipe"), 0600) == 0);
    CHECK(file_open_input(at("pipe"), &size, &why) < 0 && why == FILE_NO_INPUT && strstr(file_error(why), "function"));
    CHECK(file_open_own(at("pipe"), 0600, &why) < 0 && why == FILE_NOT_REGULAR);
    CHECK(symlink("a", at("link")) == 0);
    CHECK(file_open_own(at("link"), 0600, &why) < 0 && why == ELOOP);
    fd = file_open_input(at("link"), &size, &why);
    CHECK(fd >= 0 && size == 5);
    close(fd);
    CHECK(unlink(at("a")) == 0 && unlink(at("link")) == 0 && unlink(at("pipe")) == 0);
}

static void test_last_line(void)
{
    static const char *const cases[][2] = {
        {"", ""}, {"a\nb", "a\nb\n"}, {"a\r\nb", "a\r\nb\r\n"}, {"a\nb\n", "a\nb\n"}, {"a", "a\n"}, {"\nb", "\nb\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put("lines", cases[i][0]);
        int fd = open(at("lines"), O_RDWR);
        CHECK(file_end_last_line(fd) == 0 && file_end_last_line(fd) == 0);
        close(fd);
        CHECK(holds("lines", cases[i][1]));
    }
    /* A header that is longer than a piece of reading, with its CR in one and its LF in the next. */
    static char text[4096 + 3];
    memset(text, 'x', sizeof text);
    memcpy(text + 4095, "\r\ny", 4);
    put("lines", text);
    int fd = open(at("lines"), O_RDWR);
    char end[2];
    CHECK(file_end_last_line(fd) == 0 && pread(fd, end, 2, 4098) == 2 && memcmp(end, "\r\n", 2) == 0);
    close(fd);
    unlink(at("lines"));
}

static void test_save(void)
{
    struct output o;
    struct stat st;
    int why;
    CHECK(save("out", "one") == 0 && holds("out", "one") && !is_there("out.bulkjob-part"));
    CHECK(chmod(at("out"), 0604) == 0);
    CHECK(save("out", "two") == 0 && holds("out", "two"));
    CHECK(stat(at("out"), &st) == 0 && (st.st_mode & 0777) == 0604);
    /* Given up. */
    CHECK(output_begin(&o, at("out")) == 0 && is_there("out.bulkjob-part"));
    output_discard(&o);
    output_discard(&o);
    CHECK(holds("out", "two") && !is_there("out.bulkjob-part"));
    /* A left-over goes; what is being written, is a link or has another name does not. */
    put("out.bulkjob-part", "left over");
    CHECK(save("out", "three") == 0 && holds("out", "three") && !is_there("out.bulkjob-part"));
    put("out.bulkjob-part", "being written");
    int fd = open(at("out.bulkjob-part"), O_RDWR);
    CHECK(flock(fd, LOCK_EX) == 0);
    CHECK(save("out", "four") == 0 && holds("out", "four") && holds("out.bulkjob-part", "being written"));
    close(fd);
    CHECK(link(at("out.bulkjob-part"), at("name")) == 0);
    CHECK(save("out", "five") == 0 && holds("out", "five") && holds("name", "being written") &&
          is_there("out.bulkjob-part"));
    CHECK(unlink(at("out.bulkjob-part")) == 0 && symlink("name", at("out.bulkjob-part")) == 0);
    CHECK(save("out", "six") == 0 && holds("out", "six") && holds("name", "being written"));
    CHECK(unlink(at("out.bulkjob-part")) == 0 && mkfifo(at("out.bulkjob-part"), 0600) == 0);
    CHECK(save("out", "seven") == 0 && holds("out", "seven"));
    CHECK(unlink(at("out.bulkjob-part")) == 0 && unlink(at("name")) == 0);
    /* The part was taken away, and something else put there. */
    CHECK(output_begin(&o, at("out")) == 0 && output_write(&o, "x", 1, &why) == 1);
    CHECK(unlink(at("out.bulkjob-part")) == 0);
    put("out.bulkjob-part", "not ours");
    CHECK(output_publish(&o) == FILE_REPLACED && holds("out", "seven") && holds("out.bulkjob-part", "not ours"));
    CHECK(unlink(at("out.bulkjob-part")) == 0);
    /* A finished file in place of the part. */
    put("from", "eight");
    CHECK(chmod(at("from"), 0600) == 0 && file_publish(at("from"), at("out")) == 0);
    CHECK(holds("out", "eight") && !is_there("from") && !is_there("out.bulkjob-part"));
    put("out.bulkjob-part", "nine"); /* which has the name that a part of ours would have */
    CHECK(file_publish(at("out.bulkjob-part"), at("out")) == 0 && holds("out", "nine") &&
          !is_there("out.bulkjob-part"));
    CHECK(file_publish(at("none"), at("out")) == ENOENT && holds("out", "nine"));
    CHECK(stat(at("out"), &st) == 0 && (st.st_mode & 0777) == 0604);
    CHECK(output_begin(&o, "") == ENOENT && output_begin(&o, directory) == EISDIR);
    CHECK(output_begin(&o, at("no/out")) == ENOENT && output_begin(&o, at("out/out")) == ENOTDIR);
    CHECK(unlink(at("out")) == 0);
}

static void test_links(void)
{
    CHECK(mkdir(at("d"), 0700) == 0 && symlink("d/out", at("link")) == 0 && symlink(at("link"), at("far")) == 0);
    CHECK(save("far", "one") == 0 && holds("d/out", "one")); /* there was nothing yet */
    CHECK(save("far", "two") == 0 && holds("d/out", "two") && !is_there("far.part") && !is_there("d/out.part"));
    struct stat st;
    CHECK(lstat(at("far"), &st) == 0 && S_ISLNK(st.st_mode) && lstat(at("link"), &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(symlink("round", at("round")) == 0 && save("round", "x") == ELOOP);
    CHECK(unlink(at("round")) == 0 && unlink(at("far")) == 0 && unlink(at("link")) == 0);
    CHECK(unlink(at("d/out")) == 0 && rmdir(at("d")) == 0);
}

static volatile sig_atomic_t pipe_signals;

static void on_pipe(int number)
{
    (void)number;
    pipe_signals = pipe_signals + 1;
}

static void test_pipe(void)
{
    static char text[200000];
    char got[16];
    struct output o;
    struct stat st;
    int why = 0;
    signal(SIGPIPE, on_pipe);
    CHECK(mkfifo(at("pipe"), 0600) == 0 && output_is_direct(at("pipe")) && !output_is_direct(at("none")));
    CHECK(output_begin(&o, at("pipe")) == FILE_NO_READER);
    put("from", "x");
    CHECK(file_publish(at("from"), at("pipe")) == FILE_NOT_REGULAR && holds("from", "x") && unlink(at("from")) == 0);
    int reader = open(at("pipe"), O_RDONLY | O_NONBLOCK);
    CHECK(output_begin(&o, at("pipe")) == 0 && o.direct && !is_there("pipe.part"));
    CHECK(output_write(&o, "hello", 5, &why) == 5 && read(reader, got, sizeof got) == 5 &&
          memcmp(got, "hello", 5) == 0);
    ssize_t n = output_write(&o, text, sizeof text, &why);
    CHECK(n > 0 && n < (ssize_t)sizeof text && output_write(&o, text, sizeof text, &why) == 0); /* full */
    close(reader);
    CHECK(output_write(&o, "x", 1, &why) == -1 && why == EPIPE && pipe_signals == 0);
    /* Where the host ignores the signal, nothing is waited for. */
    signal(SIGPIPE, SIG_IGN);
    CHECK(output_write(&o, "x", 1, &why) == -1 && why == EPIPE);
    signal(SIGPIPE, on_pipe);
    CHECK(raise(SIGPIPE) == 0 && pipe_signals == 1); /* it is not left blocked */
    output_discard(&o);
    CHECK(stat(at("pipe"), &st) == 0 && S_ISFIFO(st.st_mode) && unlink(at("pipe")) == 0);
    signal(SIGPIPE, SIG_DFL);
}

/* What stands for a descriptor is written to, and the file behind it keeps what it has. */
static void test_descriptor(void)
{
    char name[64];
    struct output o;
    int why = 0;
    put("shown", "before ");
    int fd = open(at("shown"), O_RDWR);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (symlink(name, at("link")) == 0 && access(at("link"), W_OK) == 0) {
        CHECK(output_begin(&o, at("link")) == 0 && o.direct);
        CHECK(output_write(&o, "after", 5, &why) == 5);
        output_discard(&o);
        CHECK(holds("shown", "before after"));
    }
    close(fd);
    /* A file that is only reached through /proc is replaced as any other. */
    char path[sizeof directory + 64];
    snprintf(path, sizeof path, "/proc/self/root%s", at("shown"));
    if (access(path, W_OK) == 0)
        CHECK(!output_is_direct(path));
    unlink(at("link"));
    unlink(at("shown"));
}

int main(void)
{
    CHECK(mkdtemp(directory) != NULL);
    test_input();
    test_last_line();
    test_save();
    test_links();
    test_pipe();
    test_descriptor();
    CHECK(rmdir(directory) == 0); /* nothing was left */
    return check_result();
}
