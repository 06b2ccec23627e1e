/* Buffers, queues, sources, sinks: what bytes go through. */
#include "../../src/buf.h"
#include "../../src/inflow.h"
#include "../../src/sink.h"
#include "../../src/source.h"
#include "check.h"

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
    source_init_file(&s, fd, 2, 5, NULL, 0);
    CHECK(source_size(&s) == 5 && read_all(&s, out, 3) == 5 && memcmp(out, "23456", 5) == 0);
    s.sent = 0;
    CHECK(ftruncate(fd, 3) == 0);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_DATA && got == 1);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_FAILED && s.error == 0 && !s.whole_sent);
    source_free(&s);
    unlink(path);

    CHECK(source_init_queue(&s));
    CHECK(source_size(&s) == -1 && source_read(&s, out, 10, &got, &wake) == SOURCE_WAIT);
    CHECK(queue_put(&s.queue, "xy", 2, false, &wake) == 2 && wake);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_DATA && got == 2 && !s.whole_sent);
    queue_end(&s.queue);
    CHECK(source_read(&s, out, 10, &got, &wake) == SOURCE_END && s.whole_sent);
    source_free(&s);
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
    CHECK(sink_write(&s, packed, n, &wake) == SINK_TOO_LONG);
    CHECK(s.memory.len == 1000 && memcmp(s.memory.data, text, 1000) == 0);
    sink_free(&s);
    sink_init_memory(&s, 1000);
    sink_begin(&s, false);
    CHECK(sink_write(&s, text, 999, &wake) == SINK_OK && sink_write(&s, text + 999, 500, &wake) == SINK_TOO_LONG);
    CHECK(s.memory.len == 1000 && memcmp(s.memory.data, text, 1000) == 0);
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

static void test_sink_file(void)
{
    char path[] = "/tmp/bulkjob-test-XXXXXX";
    char out[64];
    bool wake;
    struct sink s;
    int fd = mkstemp(path);
    sink_init_file(&s, dup(fd), true);
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
        sink_init_file(&s, fd, false);
        sink_begin(&s, false);
        CHECK(sink_write(&s, "x", 1, &wake) == SINK_IO && s.error != 0);
        sink_free(&s);
    }
}

/* Plays a download of `text` to the inflow, `step` bytes at a time, up to `end` of it. Answers what the host got. */
static size_t play(struct inflow *in, const char *text, size_t len, size_t end, size_t step, char *out)
{
    struct queue q;
    size_t total = 0;
    size_t got = 1;
    bool wake;
    queue_init(&q, 1 << 16);
    for (size_t at = 0; at < end; at += step) {
        queue_put(&q, text + at, end - at < step ? end - at : step, true, &wake);
        while (inflow_take(in, &q, false, out + total, 7, &got, &wake) && got)
            total += got;
    }
    if (end == len)
        queue_end(&q);
    queue_free(&q);
    return total;
}

static void test_inflow(void)
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    static const char other[] = "0123456789abcdeFghijklmnopqrstuvwxyz";
    const size_t len = sizeof text - 1;
    char out[100];
    for (size_t cut = 0; cut <= len; cut++) {
        for (size_t step = 1; step <= len; step += 5) {
            struct inflow in = {0};
            size_t n = play(&in, text, len, cut, step, out);
            inflow_begin(&in);
            n += play(&in, text, len, len, step, out + n);
            CHECK(n == len && memcmp(out, text, len) == 0 && inflow_end(&in));
            inflow_free(&in);
        }
    }
    struct inflow in = {0};
    play(&in, text, len, 20, 3, out);
    inflow_begin(&in);
    play(&in, other, len, len, 3, out);
    CHECK(in.differs && !inflow_end(&in));
    inflow_free(&in);
    /* Shorter than what the host has. */
    play(&in, text, len, 20, 3, out);
    inflow_begin(&in);
    CHECK(play(&in, text, 10, 10, 3, out) == 0 && !inflow_end(&in) && in.differs);
    inflow_free(&in);
    play(&in, text, len, 20, 3, out);
    inflow_begin(&in);
    CHECK(!inflow_end(&in) && in.differs);
    inflow_free(&in);
}

int main(void)
{
    test_buf();
    test_queue();
    test_source();
    test_sink_unpacks();
    test_sink_file();
    test_inflow();
    return check_result();
}
