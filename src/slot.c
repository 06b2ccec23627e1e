#include "slot.h"

#include <stdlib.h>
#include <string.h>

/* Those that asked with the same number. */
struct origin_group {
    struct origin_group *next;
    long most;
    long under_way;
    struct slot *first; /* waiting, oldest first */
    struct slot **last;
};

struct origin {
    struct origin *next;         /* in its bucket */
    struct origin_group *groups; /* as many as there are different numbers: a few */
    long under_way;
    size_t len;
    char name[]; /* not NUL-terminated */
};

static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : strlen(url);
}

static struct origin **bucket_of(struct origins *all, const char *origin, size_t len)
{
    unsigned hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)origin[i]) * 16777619U;
    return &all->buckets[hash % ORIGIN_BUCKETS];
}

static struct origin *find_origin(struct origins *all, const char *origin, size_t len)
{
    struct origin **bucket = bucket_of(all, origin, len);
    for (struct origin *o = *bucket; o; o = o->next)
        if (o->len == len && memcmp(o->name, origin, len) == 0)
            return o;
    struct origin *o = calloc(1, sizeof *o + len);
    if (!o)
        return NULL;
    o->len = len;
    memcpy(o->name, origin, len);
    o->next = *bucket;
    *bucket = o;
    return o;
}

static struct origin_group *find_group(struct origin *o, long most)
{
    for (struct origin_group *g = o->groups; g; g = g->next)
        if (g->most == most)
            return g;
    struct origin_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->most = most;
    g->last = &g->first;
    g->next = o->groups;
    o->groups = g;
    return g;
}

/* Frees the origin when nobody has or waits for a slot of it. Answers it, or NULL. */
static struct origin *keep_origin(struct origins *all, struct origin *o)
{
    if (o->groups)
        return o;
    struct origin **at = bucket_of(all, o->name, o->len);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    free(o);
    return NULL;
}

bool slot_request(struct origins *all, struct slot *p, const char *url, long most)
{
    struct origin *o = find_origin(all, url, origin_length(url));
    struct origin_group *g = o ? find_group(o, most) : NULL;
    if (!g) {
        if (o)
            keep_origin(all, o);
        return false;
    }
    p->origin = o;
    p->group = g;
    p->under_way = false;
    p->number = all->entered++;
    p->next = NULL;
    p->at = g->last;
    *g->last = p;
    g->last = &p->next;
    return true;
}

static void stop_waiting(struct slot *p)
{
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    else
        p->group->last = p->at;
}

struct slot *slot_next(struct origin *o)
{
    struct slot *found = NULL;
    long largest = 0;
    for (struct origin_group *g = o->groups; g; g = g->next) {
        if (g->most > largest)
            largest = g->most;
        if (g->first && g->under_way < g->most && (!found || g->first->number < found->number))
            found = g->first;
    }
    if (!found || o->under_way >= largest)
        return NULL;
    stop_waiting(found);
    found->under_way = true;
    found->group->under_way++;
    o->under_way++;
    return found;
}

struct origin *slot_release(struct origins *all, struct slot *p)
{
    struct origin *o = p->origin;
    struct origin_group *g = p->group;
    if (p->under_way) {
        g->under_way--;
        o->under_way--;
    } else {
        stop_waiting(p);
    }
    p->origin = NULL;
    p->group = NULL;
    p->under_way = false;
    if (g->under_way == 0 && !g->first) {
        struct origin_group **at = &o->groups;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        free(g);
    }
    return keep_origin(all, o);
}
