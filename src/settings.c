#include "settings.h"

#include <stdlib.h>
#include <string.h>

static const double SMALL_CALL_SECONDS = 600;

struct settings *settings_new(void)
{
    struct settings *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->timeout = 120;
    s->connect_timeout = 30;
    s->max_connections = 8;
    s->compress = true;
    return s;
}

double settings_total_timeout(const struct settings *s, bool bulk)
{
    return s->total_timeout > 0 || bulk ? s->total_timeout : SMALL_CALL_SECONDS;
}

struct settings *settings_ref(struct settings *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void settings_unref(struct settings *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->proxy)
        explicit_bzero(s->proxy, strlen(s->proxy)); /* it may hold a password */
    free(s->proxy);
    free(s->no_proxy);
    free(s->ca_file);
    free(s->ca_path);
    free(s->client_cert);
    free(s->client_key);
    free(s->user_agent);
    free(s);
}

bool settings_set(char **field, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return false;
    free(*field);
    *field = copy;
    return true;
}
