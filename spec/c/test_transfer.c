/* A transfer without memory: libcurl's allocations fail one by one while it gets its options. */
#include "../../src/settings.h"
#include "../../src/transfer.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>

static long allocations; /* so far */
static long failing;     /* the number of the one that fails; 0: none */

static bool fails(void)
{
    return ++allocations == failing;
}

static void *failing_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

static void *failing_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

static void *failing_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

static char *failing_strdup(const char *s)
{
    return fails() ? NULL : strdup(s);
}

static struct settings *full_settings(void)
{
    struct settings *s = settings_new();
    if (!s || !settings_set(&s->proxy, "http://user:secret@127.0.0.1:3128") ||
        !settings_set(&s->no_proxy, "b.example") || !settings_set(&s->ca_file, "/ca.pem") ||
        !settings_set(&s->ca_path, "/ca") || !settings_set(&s->client_cert, "/cert.pem") ||
        !settings_set(&s->client_key, "/key.pem") || !settings_set(&s->user_agent, "me"))
        abort();
    return s;
}

/* No option may be left out: without its proxy or its CA, the request would go where it must not. */
static void test_setup(void)
{
    struct settings *s = full_settings();
    for (failing = 1;; failing++) {
        struct transfer *t = transfer_new(s, "PUT", "https://a.example/x");
        CHECK(t != NULL);
        source_init_bytes(&t->source, "x", 1);
        allocations = 0;
        CURLcode code = transfer_setup(t, NULL);
        bool reached = allocations >= failing;
        CHECK(code == (reached ? CURLE_OUT_OF_MEMORY : CURLE_OK));
        failing = -failing; /* what frees may allocate */
        transfer_finish(t, code);
        failing = -failing;
        transfer_unref(t);
        if (!reached)
            break;
    }
    CHECK(failing > 10);
    failing = 0;
    settings_unref(s);
}

static struct transfer *small_call(struct settings *s, const char *method, const char *text)
{
    struct transfer *t = transfer_new(s, method, "https://a.example/x");
    CHECK(t != NULL);
    CHECK(!text || source_init_text(&t->source, text, strlen(text)));
    return t;
}

/* A handle goes from one small call to the next; one of a call that failed, or that has a secret of its own, does not.
 */
static void test_kept(void)
{
    struct settings *s = settings_new();
    struct transfer *t = small_call(s, "PATCH", "{}");
    CHECK(transfer_setup(t, NULL) == CURLE_OK);
    CURL *kept = transfer_finish(t, CURLE_OK);
    CHECK(kept && !t->easy);
    transfer_unref(t);
    t = small_call(s, "GET", NULL);
    CHECK(transfer_setup(t, kept) == CURLE_OK && t->easy == kept);
    CHECK(transfer_finish(t, CURLE_COULDNT_CONNECT) == NULL);
    transfer_unref(t);
    t = transfer_new(s, "PUT", "https://a.example/x");
    source_init_bytes(&t->source, "x", 1);
    CHECK(!transfer_may_share(t));
    transfer_unref(t);
    CHECK(settings_set(&s->proxy, "http://user:secret@127.0.0.1:3128"));
    t = small_call(s, "GET", NULL);
    CHECK(!transfer_may_share(t));
    transfer_unref(t);
    settings_unref(s);
}

static void test_total_timeout(void)
{
    struct settings *s = settings_new();
    CHECK(settings_total_timeout(s, false) == 600 && settings_total_timeout(s, true) == 0);
    s->total_timeout = 5;
    CHECK(settings_total_timeout(s, false) == 5 && settings_total_timeout(s, true) == 5);
    settings_unref(s);
}

static void test_deadline(void)
{
    struct settings *s = settings_new();
    struct transfer *t = transfer_new(s, "GET", "https://a.example/x");
    double again;
    CHECK(!transfer_is_over(t, 100, &again) && again < 0);
    t->deadline = 150; /* while it waits for a place, too */
    CHECK(!transfer_is_over(t, 149, &again) && again == 150);
    CHECK(transfer_is_over(t, 150, &again) && t->stop == STOP_DEADLINE);
    t->stop = STOP_NONE;
    CHECK(transfer_setup(t, NULL) == CURLE_OK);
    t->last_byte = 10;
    CHECK(!transfer_is_over(t, 20, &again) && again == 130);
    CHECK(transfer_is_over(t, 130, &again) && t->stop == STOP_SILENCE);
    t->stop = STOP_NONE;
    t->in_paused = true;
    CHECK(!transfer_is_over(t, 149, &again) && again == 150);
    CHECK(transfer_is_over(t, 150, &again) && t->stop == STOP_DEADLINE);
    t->stop = STOP_NONE;
    t->answer_by = 140; /* whichever comes first */
    CHECK(!transfer_is_over(t, 139, &again) && again == 140);
    CHECK(transfer_is_over(t, 140, &again) && t->stop == STOP_DEADLINE);
    transfer_finish(t, CURLE_ABORTED_BY_CALLBACK);
    transfer_unref(t);
    settings_unref(s);
}

int main(void)
{
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, failing_malloc, free, failing_realloc, failing_strdup,
                             failing_calloc) != CURLE_OK)
        return 1;
    test_setup();
    test_kept();
    test_total_timeout();
    test_deadline();
    curl_global_cleanup();
    return check_result();
}
