/* probe PORT PATH SECONDS INTERVAL_MS: asks a server on this machine for PATH over one kept connection, a request each
 * INTERVAL_MS (0: as soon as the answer is there), and prints how many answers came, and the median, the 99th
 * percentile and the longest time to one in microseconds. An answer must be a 200 with a Content-Length. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(long long ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000LL, .tv_nsec = ns % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void fail(const char *what)
{
    fprintf(stderr, "probe: %s\n", what);
    exit(1);
}

/* Reads one answer. */
static void read_answer(int fd)
{
    char text[8192];
    size_t have = 0;
    size_t whole = sizeof text;
    while (have < whole) {
        ssize_t n = read(fd, text + have, sizeof text - 1 - have);
        if (n <= 0)
            fail("the connection was closed in an answer");
        have += (size_t)n;
        text[have] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "Content-Length: ");
        if (end && !length)
            fail("an answer has no Content-Length");
        if (end)
            whole = (size_t)(end - text) + 4 + strtoul(length + 16, NULL, 10);
        if (whole > sizeof text)
            fail("an answer is too long");
    }
    if (strncmp(text, "HTTP/1.1 200", 12) != 0)
        fail(text);
}

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a;
    long long y = *(const long long *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("PORT PATH SECONDS INTERVAL_MS expected");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("no connection");

    char request[1024];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    if (length < 0 || (size_t)length >= sizeof request)
        fail("the path is too long");
    long long interval = (long long)(strtod(argv[4], NULL) * 1e6);
    long long begun = now_ns();
    long long end = begun + (long long)(strtod(argv[3], NULL) * 1e9);
    size_t room = 1024;
    size_t count = 0;
    long long *times = malloc(room * sizeof *times);
    for (long long at = begun; at < end && times;) {
        sleep_until(at);
        long long sent = now_ns();
        if (write(fd, request, (size_t)length) != length)
            fail("a request could not be sent");
        read_answer(fd);
        long long answered = now_ns();
        times[count++] = answered - sent;
        if (count == room)
            times = realloc(times, (room *= 2) * sizeof *times);
        /* One that is late is not made up for. */
        at += interval;
        if (at < answered)
            at = answered;
    }
    if (!times)
        fail("out of memory");
    qsort(times, count, sizeof *times, compare);
    printf("%zu %.1f %.1f %.1f\n", count, (double)times[count / 2] / 1e3, (double)times[count * 99 / 100] / 1e3,
           (double)times[count - 1] / 1e3);
    free(times);
    close(fd);
    return 0;
}
