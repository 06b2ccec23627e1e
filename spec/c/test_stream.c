/* Buffers, queues, sources, sinks: what bytes go through. */
#include "../../src/buf.h"
#include "../../src/download.h"
#include "../../src/sink.h"
#include "../../src/source.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static void test_buf(void)
{
    struct buf b;
    buf_init(&b, 10);
    CHECK(strcmp(buf_string(&b), "") == 0);
    CHECK(buf_add_string(&b, "12345"));
    CHECK(buf_add(&b, "\0007890", 5) && b.len == 10);
    CHECK(!buf_add_char(&b, 'x') && b.overflown && b.len == 10);
    buf_drop(&b, 6);
    CHECK(b.len == 4 && strcmp(buf_string(&b), "7890") == 0);
    buf_drop(&b, 100);
    CHECK(b.len == 0);
    buf_free(&b);
    CHECK(buf_add_string(&b, "again"));
    buf_free(&b);
}

static void test_queue(void)
{
    struct queue q;
    bool wake;
    bool ended;
    char out[16];
    CHECK(queue_init(&q, 8));
    CHECK(queue_take(&q, out, sizeof out, &ended, &wake) == 0 && !ended && queue_reader_waits(&q));
    CHECK(queue_put(&q, "abcde", 5, false, &wake) == 5 && wake);
    CHECK(queue_put(&q, "fghij", 5, true, &wake) == 0 && queue_writer_waits(&q));
    CHECK(queue_put(&q, "fghij", 5, false, &wake) == 3 && !wake);
    CHECK(queue_take(&q, out, 3, &ended, &wake) == 3 && !wake && memcmp(out, "abc", 3) == 0);
    CHECK(queue_take(&q, out, 1, &ended, &wake) == 1 && wake);
    CHECK(queue_put(&q, "ij", 2, true, &wake) == 2); /* around the corner */
    CHECK(!queue_end(&q));
    CHECK(!queue_is_drained(&q));
    CHECK(queue_take(&q, out, sizeof out, &ended, &wake) == 6 && ended && memcmp(out, "efghij", 6) == 0);
    CHECK(queue_is_drained(&q));
    queue_free(&q);
}

static size_t read_all(struct source *s, char *out, size_t step)
{
    size_t total = 0;
    size_t got;
    bool wake;
    while (source_read(s, out + total, step, &got, &wake) == SOURCE_DATA)
        total += got;
    return total;
}

static void test_source(void)
{
    struct source s;
    char out[64];
    char path[] = "/tmp/bulkjob-test-XXXXXX";
    size_t got;
    bool wake;
    source_init_bytes(&s, "hello", 5);
    CHECK(source_size(&s) == 5 && read_all(&s, out, 2) == 5 && s.whole_sent && memcmp(out, "hello", 5) == 0);
    source_free(&s);
    source_init_bytes(&s, "", 0);
    CHECK(read_all(&s, out, 2) == 0 && s.whole_sent);
    source_free(&s);

    int fd = mkstemp(path);
    CHECK(write(fd, "0123456789", 10) == 10);
    source_init_file(&s, dup(fd), path, 2, 5, NULL, 0);
    CHECK(source_size(&s) == 5 && read_all(&s, out, 3) == 5 && memcmp(out, "23456", 5) == 0);
    source_free(&s);
    CHECK(ftruncate(fd, 3) == 0);
    source_init_file(&s, fd, path, 2, 5, NULL, 0);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_DATA && got == 1);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_FAILED && s.failure == SOURCE_SHORTER && !s.whole_sent);
    CHECK(strcmp(s.path, path) == 0 && !s.digest[0]);
    source_free(&s);
    unlink(path);
    fd = open("/tmp", O_RDONLY); /* which cannot be read */
    source_init_file(&s, fd, "/tmp", 0, 5, NULL, 0);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_FAILED && s.failure == SOURCE_UNREADABLE &&
          s.error == EISDIR);
    source_free(&s);

    CHECK(source_init_queue(&s));
    CHECK(source_size(&s) == -1 && source_read(&s, out, 10, &got, &wake) == SOURCE_WAIT);
    CHECK(queue_put(&s.queue, "xy", 2, false, &wake) == 2 && wake);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_DATA && got == 2 && !s.whole_sent);
    queue_end(&s.queue);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_END && s.whole_sent);
    source_free(&s);
}

static void test_digest(void)
{
    char hex[DIGEST_HEX + 1];
    struct digest *d = digest_new(DIGEST_BODY);
    CHECK(digest_hex(d, hex) && strcmp(hex, "99aa06d3014798d86001c324468d497f") == 0); /* of nothing: xxhsum -H2 */
    digest_add(d, "a", 1);
    digest_add(d, "", 0);
    digest_add(d, "bc", 2);
    CHECK(digest_hex(d, hex) && strcmp(hex, "06b05ab6733a618578af5f94892f3950") == 0 &&
          digest_is(DIGEST_BODY, hex, 32));
    digest_reset(d);
    digest_add(d, "abc", 3);
    CHECK(digest_hex(d, hex) && strcmp(hex, "06b05ab6733a618578af5f94892f3950") == 0);
    digest_free(d);
    d = digest_new(DIGEST_FILE); /* FIPS 180-2, B.1 */
    digest_add(d, "ab", 2);
    CHECK(digest_hex(d, hex));
    digest_add(d, "c", 1);
    CHECK(digest_hex(d, hex) && strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
    CHECK(digest_is(DIGEST_FILE, hex, 64) && !digest_is(DIGEST_BODY, hex, 64) && !digest_is(DIGEST_BODY, hex, 31));
    CHECK(!digest_is(DIGEST_BODY, "06B05AB6733A618578AF5F94892F3950", 32));
    digest_free(d);
    digest_free(NULL);
}

/* Reads the source in steps of `step`; answers how many bytes came before it ended or failed. */
static size_t read_checked(struct source *s, size_t step, enum source_event *last)
{
    char out[64];
    size_t total = 0;
    size_t got;
    bool wake;
    while ((*last = source_read(s, out, step, &got, &wake)) == SOURCE_DATA)
        total += got;
    return total;
}

static void fill_queue(struct source *s, const char *text, bool ended)
{
    bool wake;
    queue_put(&s->queue, text, strlen(text), true, &wake);
    if (ended)
        queue_end(&s->queue);
}

/* A body that is not the expected one never goes out whole, wherever it is read and in whatever steps. */
static void test_source_expects(void)
{
    static const char good[] = "Name\nabcdefghij\n";
    static const char body[] = "abcdefghij\n";
    char path[] = "/tmp/bulkjob-test-XXXXXX";
    char digest[DIGEST_HEX + 1];
    const size_t len = sizeof good - 1;
    enum source_event last;
    struct source s;
    struct digest *d = digest_new(DIGEST_BODY);
    digest_add(d, good, len);
    CHECK(digest_hex(d, digest));
    digest_free(d);
    int fd = mkstemp(path);
    for (int changed = 0; changed < 2; changed++) {
        CHECK(pwrite(fd, body, sizeof body - 1, 0) == sizeof body - 1);
        CHECK(!changed || pwrite(fd, "X", 1, 4) == 1);
        const char *text = changed ? "Name\nabcdXfghij\n" : good;
        for (size_t step = 1; step <= len + 1; step++) {
            source_init_bytes(&s, text, len);
            source_expect(&s, digest);
            size_t n = read_checked(&s, step, &last);
            CHECK(changed
                      ? n < len && last == SOURCE_FAILED && s.failure == SOURCE_CHANGED && !s.whole_sent && !s.digest[0]
                      : n == len && last == SOURCE_END && s.whole_sent && strcmp(s.digest, digest) == 0);
            source_free(&s);
            source_init_file(&s, dup(fd), path, 0, sizeof body - 1, "Name\n", 5);
            source_expect(&s, digest);
            n = read_checked(&s, step, &last);
            CHECK(changed ? n < len && last == SOURCE_FAILED && s.failure == SOURCE_CHANGED && !s.whole_sent
                          : n == len && last == SOURCE_END && s.whole_sent && strcmp(s.digest, digest) == 0);
            source_free(&s);
            CHECK(source_init_queue(&s));
            source_expect(&s, digest);
            fill_queue(&s, text, step % 2);
            n = read_checked(&s, step, &last);
            if (last == SOURCE_WAIT) { /* the end comes behind the last byte */
                fill_queue(&s, "", true);
                n += read_checked(&s, step, &last);
            }
            CHECK(changed ? last == SOURCE_FAILED && s.failure == SOURCE_CHANGED && !s.whole_sent
                          : n == len && last == SOURCE_END && s.whole_sent && strcmp(s.digest, digest) == 0);
            source_free(&s);
        }
    }
    source_init_bytes(&s, good, len); /* nothing expected */
    read_checked(&s, 5, &last);
    CHECK(s.whole_sent && strcmp(s.digest, digest) == 0);
    source_free(&s);
    close(fd);
    unlink(path);
}

static size_t pack(const char *text, size_t len, char *out, size_t room)
{
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)(size_t)text;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void test_sink_unpacks(void)
{
    static char text[300000];
    static char packed[310000];
    struct sink s;
    bool wake;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 7);
    size_t n = pack(text, sizeof text, packed, sizeof packed);
    for (size_t step = 1; step < 400; step = step * 3 + 1) { /* however the network cuts it */
        sink_init_memory(&s, sizeof text);
        sink_begin(&s, true);
        for (size_t at = 0; at < n; at += step)
            CHECK(sink_write(&s, packed + at, n - at < step ? n - at : step, &wake) == SINK_OK);
        CHECK(sink_whole(&s) && s.memory.len == sizeof text && memcmp(s.memory.data, text, sizeof text) == 0);
        sink_free(&s);
    }
    sink_init_memory(&s, sizeof text);
    sink_begin(&s, true);
    CHECK(sink_write(&s, packed, n - 3, &wake) == SINK_OK && !sink_whole(&s));
    sink_free(&s);
    sink_init_memory(&s, 1000);
    sink_begin(&s, true);
    CHECK(sink_write(&s, "this is not gzip", 16, &wake) == SINK_CORRUPT);
    sink_free(&s);
    /* Two members, one after the other. */
    n = pack("ab", 2, packed, sizeof packed);
    n += pack("cd", 2, packed + n, sizeof packed - n);
    sink_init_memory(&s, 1000);
    sink_begin(&s, true);
    CHECK(sink_write(&s, packed, n, &wake) == SINK_OK && sink_whole(&s) && strcmp(buf_string(&s.memory), "abcd") == 0);
    sink_free(&s);
}

/* What is longer than the maximum is cut there, packed or not, however it comes: no hole, and it counts as whole. */
static void test_sink_cuts(void)
{
    enum { MOST = 64 * 1024, LONGEST = 1 << 20 };
    static char text[LONGEST];
    static char packed[LONGEST + 10000];
    struct sink s;
    bool wake;
    unsigned state = 1;
    for (size_t i = 0; i < sizeof text; i++) /* packs to about three quarters */
        text[i] = (char)('0' + ((state = state * 1103515245 + 12345) >> 16) % 64);
    for (size_t len = 1024; len <= LONGEST; len = len * 3 / 2) {
        for (int gzip = 0; gzip < 2; gzip++) {
            size_t n = gzip ? pack(text, len, packed, sizeof packed) : len;
            size_t kept = len < MOST ? len : MOST;
            for (size_t step = 1; step <= n; step = step * 5 + 2) {
                enum sink_event e = SINK_OK;
                enum sink_event worst = SINK_OK;
                sink_init_memory(&s, MOST);
                CHECK(sink_begin(&s, gzip));
                for (size_t at = 0; at < n; at += step) {
                    e = sink_write(&s, (gzip ? packed : text) + at, n - at < step ? n - at : step, &wake);
                    if (e != SINK_OK && e != SINK_TOO_LONG)
                        worst = e;
                }
                CHECK(worst == SINK_OK && e == (len > MOST ? SINK_TOO_LONG : SINK_OK) && sink_whole(&s));
                CHECK(s.memory.len == kept && memcmp(s.memory.data, text, kept) == 0 && s.written == (off_t)kept);
                sink_free(&s);
            }
        }
    }
}

static enum packing packing(const char *a, const char *b)
{
    return packing_add(packing_add(PACKING_NONE, a, strlen(a)), b, strlen(b));
}

static void test_packing(void)
{
    CHECK(packing("", "") == PACKING_NONE && packing("identity", "") == PACKING_NONE &&
          packing(" , ,", "") == PACKING_NONE);
    CHECK(packing("gzip", "") == PACKING_GZIP && packing("X-GZip", "") == PACKING_GZIP);
    CHECK(packing("identity, gzip ,identity", "") == PACKING_GZIP && packing("", "\tgzip") == PACKING_GZIP);
    CHECK(packing("gzip, gzip", "") == PACKING_UNKNOWN && packing("gzip", "gzip") == PACKING_UNKNOWN);
    CHECK(packing("deflate", "") == PACKING_UNKNOWN && packing("br", "gzip") == PACKING_UNKNOWN);
    CHECK(packing("gzip,br", "") == PACKING_UNKNOWN && packing("gzi", "") == PACKING_UNKNOWN);
}

static void test_sink_file(void)
{
    char path[] = "/tmp/bulkjob-test-XXXXXX";
    char out[64];
    bool wake;
    struct sink s;
    int fd = mkstemp(path);
    sink_init_file(&s, dup(fd), path, true);
    sink_begin(&s, false);
    CHECK(sink_write(&s, "\"he", 3, &wake) == SINK_OK);
    CHECK(sink_write(&s, "ader\"\nrow", 9, &wake) == SINK_OK);
    CHECK(sink_write(&s, " 1\n", 3, &wake) == SINK_OK);
    sink_free(&s);
    CHECK(pread(fd, out, sizeof out, 0) == 6 && memcmp(out, "row 1\n", 6) == 0);
    close(fd);
    unlink(path);
    fd = open("/dev/full", O_WRONLY);
    if (fd >= 0) {
        sink_init_file(&s, fd, "/dev/full", false);
        sink_begin(&s, false);
        CHECK(sink_write(&s, "x", 1, &wake) == SINK_IO && s.error == ENOSPC && strcmp(s.path, "/dev/full") == 0);
        sink_free(&s);
    }
}

/* Plays a download of `text` to the download, `step` bytes at a time, up to `end` of it. Answers what the host got. */
static size_t play(struct download *in, const char *text, size_t len, size_t end, size_t step, char *out)
{
    struct queue q;
    size_t total = 0;
    size_t got = 1;
    bool wake;
    queue_init(&q, 1 << 16);
    for (size_t at = 0; at < end; at += step) {
        queue_put(&q, text + at, end - at < step ? end - at : step, true, &wake);
        while (download_take(in, &q, false, out + total, 7, &got, &wake) && got)
            total += got;
    }
    if (end == len)
        queue_end(&q);
    queue_free(&q);
    return total;
}

static void test_download(void)
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    static const char other[] = "0123456789abcdeFghijklmnopqrstuvwxyz";
    const size_t len = sizeof text - 1;
    char out[100];
    for (size_t cut = 0; cut <= len; cut++) {
        for (size_t step = 1; step <= len; step += 5) {
            struct download in = {0};
            size_t n = play(&in, text, len, cut, step, out);
            download_begin(&in);
            n += play(&in, text, len, len, step, out + n);
            CHECK(n == len && memcmp(out, text, len) == 0 && download_end(&in));
            download_free(&in);
        }
    }
    struct download in = {0};
    play(&in, text, len, 20, 3, out);
    download_begin(&in);
    play(&in, other, len, len, 3, out);
    CHECK(in.differs && !download_end(&in));
    download_free(&in);
    /* Shorter than what the host has. */
    play(&in, text, len, 20, 3, out);
    download_begin(&in);
    CHECK(play(&in, text, 10, 10, 3, out) == 0 && !download_end(&in) && in.differs);
    download_free(&in);
    play(&in, text, len, 20, 3, out);
    download_begin(&in);
    CHECK(!download_end(&in) && in.differs);
    download_free(&in);
}

int main(void)
{
    test_buf();
    test_queue();
    test_digest();
    test_source();
    test_source_expects();
    test_sink_unpacks();
    test_sink_cuts();
    test_packing();
    test_sink_file();
    test_download();
    return check_result();
}
