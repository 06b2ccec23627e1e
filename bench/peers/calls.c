/* What libcurl alone takes for the calls of bench/speed.lua:
 *
 *     calls closes URL TOKEN            closes each job, one after another on one connection
 *     calls infos  URL TOKEN TIMES      reads each job so many times over 8 connections
 *     calls waits  URL TOKEN SECONDS    looks at each job for so long over 8 connections, as often as job:wait looks
 *
 * The ids of the jobs come on standard input, one a line. Handles, headers and connections are made once, and of each
 * response only the status and the state are looked at. Prints the seconds of processor and of the clock that it took,
 * and how many requests were made. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECTIONS = 8, ID_BYTES = 18, BODY_BYTES = 4096, URL_BYTES = 512 };

struct request {
    CURL *easy;
    char body[BODY_BYTES];
    size_t len;
};

/* A look at a job. */
struct look {
    double at; /* seconds from the start */
    size_t job;
};

struct org {
    const char *url;
    struct curl_slist *headers;
    char (*ids)[ID_BYTES + 1];
    size_t count;
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "calls: %s\n", what);
    exit(1);
}

static void *check(void *p)
{
    if (!p)
        fail("out of memory");
    return p;
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void read_ids(struct org *o)
{
    char id[ID_BYTES + 1];
    size_t room = 0;
    while (scanf(" %18s", id) == 1) {
        if (o->count == room) {
            room = room ? room * 2 : 1024;
            o->ids = check(realloc(o->ids, room * sizeof *o->ids));
        }
        memcpy(o->ids[o->count++], id, sizeof id);
    }
    if (!o->count)
        fail("no ids on standard input");
}

static size_t take_body(char *data, size_t size, size_t n, void *user)
{
    struct request *r = user;
    if (r->len + size * n >= sizeof r->body)
        return 0;
    memcpy(r->body + r->len, data, size * n);
    r->len += size * n;
    r->body[r->len] = '\0';
    return size * n;
}

static void make_request(struct request *r, const struct org *o)
{
    r->easy = check(curl_easy_init());
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, o->headers);
    curl_easy_setopt(r->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
}

static void aim(struct request *r, const struct org *o, size_t job)
{
    char url[URL_BYTES];
    snprintf(url, sizeof url, "%s/services/data/v66.0/jobs/ingest/%s", o->url, o->ids[job]);
    curl_easy_setopt(r->easy, CURLOPT_URL, url);
    r->len = 0;
}

static void check_response(const struct request *r, CURLcode code, const char *state)
{
    long status = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        fail(curl_easy_strerror(code));
    if (status != 200 || !strstr(r->body, state))
        fail(r->body);
}

static size_t closes(const struct org *o)
{
    struct request *r = check(calloc(1, sizeof *r));
    make_request(r, o);
    curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, "PATCH");
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, "{\"state\":\"UploadComplete\"}");
    for (size_t i = 0; i < o->count; i++) {
        aim(r, o, i);
        check_response(r, curl_easy_perform(r->easy), "\"UploadComplete\"");
    }
    curl_easy_cleanup(r->easy);
    free(r);
    return o->count;
}

/* Makes all the looks, each when its moment has come, at most CONNECTIONS at once. */
static size_t look_at(const struct org *o, const struct look *looks, size_t count)
{
    struct request *requests = check(calloc(CONNECTIONS, sizeof *requests));
    struct request *idle[CONNECTIONS];
    size_t idle_count = CONNECTIONS;
    size_t next = 0;
    CURLM *multi = check(curl_multi_init());
    for (size_t i = 0; i < CONNECTIONS; i++) {
        make_request(&requests[i], o);
        idle[i] = &requests[i];
    }
    double begun = now(CLOCK_MONOTONIC);
    while (next < count || idle_count < CONNECTIONS) {
        int running;
        int left;
        double passed = now(CLOCK_MONOTONIC) - begun;
        for (; next < count && idle_count && looks[next].at <= passed; next++) {
            struct request *r = idle[--idle_count];
            aim(r, o, looks[next].job);
            curl_multi_add_handle(multi, r->easy);
        }
        curl_multi_perform(multi, &running);
        bool room = false;
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));) {
            struct request *r;
            CURL *easy = m->easy_handle;
            CURLcode code = m->data.result;
            curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&r);
            check_response(r, code, "\"state\"");
            curl_multi_remove_handle(multi, easy);
            idle[idle_count++] = r;
            room = true;
        }
        if (room)
            continue;
        double until = next < count && idle_count ? looks[next].at - passed : 1;
        curl_multi_poll(multi, NULL, 0, until > 0 ? (int)(until * 1000) + 1 : 0, NULL);
    }
    for (size_t i = 0; i < CONNECTIONS; i++)
        curl_easy_cleanup(requests[i].easy);
    curl_multi_cleanup(multi);
    free(requests);
    return count;
}

static size_t infos(const struct org *o, size_t times)
{
    struct look *looks = check(calloc(times * o->count, sizeof *looks));
    for (size_t i = 0; i < times * o->count; i++)
        looks[i].job = i % o->count;
    size_t count = look_at(o, looks, times * o->count);
    free(looks);
    return count;
}

static int by_moment(const void *a, const void *b)
{
    double x = ((const struct look *)a)->at;
    double y = ((const struct look *)b)->at;
    return (x > y) - (x < y);
}

/* The pauses are those of lua/bulkjob/job.lua. */
static size_t waits(const struct org *o, double seconds)
{
    enum { MOST = 64 };
    struct look *looks = check(calloc(o->count * MOST, sizeof *looks));
    size_t count = 0;
    for (size_t job = 0; job < o->count; job++) {
        double at = 0;
        double pause = 0.2;
        for (int n = 1; n < MOST && at < seconds; n++) {
            looks[count++] = (struct look){at, job};
            at += pause * (0.8 + 0.4 * rand() / RAND_MAX);
            pause = pause * 1.6 < 20 ? pause * 1.6 : 20;
        }
        looks[count++] = (struct look){seconds, job}; /* the last look of a wait that is over */
    }
    qsort(looks, count, sizeof *looks, by_moment);
    count = look_at(o, looks, count);
    free(looks);
    return count;
}

int main(int argc, char **argv)
{
    char token[URL_BYTES];
    struct org o = {0};
    size_t amount;
    if (argc < 4)
        fail("usage: calls closes|infos|waits URL TOKEN [TIMES|SECONDS]");
    double number = argc > 4 ? atof(argv[4]) : 1;
    o.url = argv[2];
    read_ids(&o);
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    double begun = now(CLOCK_MONOTONIC);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    snprintf(token, sizeof token, "Authorization: Bearer %s", argv[3]);
    o.headers = curl_slist_append(o.headers, token);
    o.headers = curl_slist_append(o.headers, "Content-Type: application/json; charset=UTF-8");
    o.headers = check(curl_slist_append(o.headers, "Accept: application/json"));
    if (strcmp(argv[1], "closes") == 0)
        amount = closes(&o);
    else if (strcmp(argv[1], "infos") == 0)
        amount = infos(&o, (size_t)number);
    else if (strcmp(argv[1], "waits") == 0)
        amount = waits(&o, number);
    else
        fail("closes, infos or waits expected");
    printf("%.6f %.6f %zu\n", now(CLOCK_PROCESS_CPUTIME_ID) - cpu, now(CLOCK_MONOTONIC) - begun, amount);
    curl_slist_free_all(o.headers);
    free(o.ids);
    return 0;
}
