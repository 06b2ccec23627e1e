#include "lane.h"

#include <stdlib.h>
#include <string.h>

/* Those that entered with the same number. */
struct lane_group {
    struct lane_group *next;
    long most;
    long under_way;
    struct place *first; /* waiting, oldest first */
    struct place **last;
};

struct lane {
    struct lane *next;         /* in its bucket */
    struct lane_group *groups; /* as many as there are different numbers: a few */
    long under_way;
    size_t len;
    char origin[]; /* not NUL-terminated */
};

static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : strlen(url);
}

static struct lane **bucket_of(struct lanes *all, const char *origin, size_t len)
{
    unsigned hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)origin[i]) * 16777619U;
    return &all->buckets[hash % LANE_BUCKETS];
}

static struct lane *find_lane(struct lanes *all, const char *origin, size_t len)
{
    struct lane **bucket = bucket_of(all, origin, len);
    for (struct lane *l = *bucket; l; l = l->next)
        if (l->len == len && memcmp(l->origin, origin, len) == 0)
            return l;
    struct lane *l = calloc(1, sizeof *l + len);
    if (!l)
        return NULL;
    l->len = len;
    memcpy(l->origin, origin, len);
    l->next = *bucket;
    *bucket = l;
    return l;
}

static struct lane_group *find_group(struct lane *l, long most)
{
    for (struct lane_group *g = l->groups; g; g = g->next)
        if (g->most == most)
            return g;
    struct lane_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->most = most;
    g->last = &g->first;
    g->next = l->groups;
    l->groups = g;
    return g;
}

/* Frees the lane when nobody is in it. Answers it, or NULL. */
static struct lane *keep_lane(struct lanes *all, struct lane *l)
{
    if (l->groups)
        return l;
    struct lane **at = bucket_of(all, l->origin, l->len);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l);
    return NULL;
}

bool lane_enter(struct lanes *all, struct place *p, const char *url, long most)
{
    struct lane *l = find_lane(all, url, origin_length(url));
    struct lane_group *g = l ? find_group(l, most) : NULL;
    if (!g) {
        if (l)
            keep_lane(all, l);
        return false;
    }
    p->lane = l;
    p->group = g;
    p->under_way = false;
    p->number = all->entered++;
    p->next = NULL;
    p->at = g->last;
    *g->last = p;
    g->last = &p->next;
    return true;
}

static void stop_waiting(struct place *p)
{
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    else
        p->group->last = p->at;
}

struct place *lane_next(struct lane *l)
{
    struct place *found = NULL;
    long largest = 0;
    for (struct lane_group *g = l->groups; g; g = g->next) {
        if (g->most > largest)
            largest = g->most;
        if (g->first && g->under_way < g->most && (!found || g->first->number < found->number))
            found = g->first;
    }
    if (!found || l->under_way >= largest)
        return NULL;
    stop_waiting(found);
    found->under_way = true;
    found->group->under_way++;
    l->under_way++;
    return found;
}

struct lane *lane_leave(struct lanes *all, struct place *p)
{
    struct lane *l = p->lane;
    struct lane_group *g = p->group;
    if (p->under_way) {
        g->under_way--;
        l->under_way--;
    } else {
        stop_waiting(p);
    }
    p->lane = NULL;
    p->group = NULL;
    p->under_way = false;
    if (g->under_way == 0 && !g->first) {
        struct lane_group **at = &l->groups;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        free(g);
    }
    return keep_lane(all, l);
}
