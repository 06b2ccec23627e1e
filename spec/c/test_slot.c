/* Connection slots: who may go, in which order, and that nothing is left behind. */
#include "../../src/slot.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { MANY = 20000 };

static const char here[] = "https://here.example/services/data";
static struct origins all;

/* Lets all go that may, and answers how many those are. The first of them comes out in *first. */
static int go(struct origin *o, struct slot **first)
{
    int n = 0;
    struct slot *p;
    *first = NULL;
    while ((p = slot_next(o))) {
        if (!*first)
            *first = p;
        n++;
    }
    return n;
}

static bool is_empty(void)
{
    for (int i = 0; i < ORIGIN_BUCKETS; i++)
        if (all.buckets[i])
            return false;
    return true;
}

static void test_one_after_the_other(void)
{
    struct slot a = {0};
    struct slot b = {0};
    struct slot c = {0};
    struct slot *first;
    CHECK(slot_request(&all, &a, here, 2) && slot_request(&all, &b, here, 2) && slot_request(&all, &c, here, 2));
    CHECK(go(a.origin, &first) == 2 && first == &a && a.under_way && b.under_way && !c.under_way);
    struct origin *o = slot_release(&all, &a);
    CHECK(o && go(o, &first) == 1 && first == &c);
    CHECK(slot_release(&all, &b) == o && slot_release(&all, &c) == NULL && is_empty());
}

static void test_origins(void)
{
    static const char *const urls[] = {"https://a.example/x", "https://a.example?x", "https://a.example:444/x",
                                       "http://a.example/x",  "https://b.example",   "b.example"};
    struct slot slots[6];
    struct slot *first;
    memset(slots, 0, sizeof slots);
    for (int i = 0; i < 6; i++)
        CHECK(slot_request(&all, &slots[i], urls[i], 1));
    CHECK(slots[0].origin == slots[1].origin);
    for (int i = 1; i < 6; i++)
        for (int j = i + 1; j < 6; j++)
            CHECK(slots[i].origin != slots[j].origin);
    for (int i = 1; i < 6; i++)
        CHECK(go(slots[i].origin, &first) == 1);
    for (int i = 0; i < 6; i++)
        slot_release(&all, &slots[i]);
    CHECK(is_empty());
}

/* Clients with other numbers neither hold each other up nor add up. */
static void test_numbers(void)
{
    struct slot ones[3];
    struct slot eights[20];
    struct slot *first;
    int running = 0;
    memset(ones, 0, sizeof ones);
    memset(eights, 0, sizeof eights);
    for (int i = 0; i < 3; i++)
        CHECK(slot_request(&all, &ones[i], here, 1));
    for (int i = 0; i < 20; i++)
        CHECK(slot_request(&all, &eights[i], here, 8));
    struct origin *o = ones[0].origin;
    CHECK(go(o, &first) == 8 && first == &ones[0]);
    CHECK(!ones[1].under_way && eights[6].under_way && !eights[7].under_way);
    /* The client with 1 gets its turn although the one with 8 always has more to do. */
    slot_release(&all, &ones[0]);
    CHECK(slot_next(o) == &ones[1] && !slot_next(o));
    slot_release(&all, &eights[0]);
    CHECK(slot_next(o) == &eights[7] && !slot_next(o));
    for (int i = 0; i < 20; i++)
        running += eights[i].under_way;
    CHECK(running == 7);
    /* One that waits goes away, and nobody else gets a slot by that. */
    slot_release(&all, &ones[2]);
    CHECK(!slot_next(o));
    slot_release(&all, &ones[1]);
    CHECK(slot_next(o) == &eights[8] && !slot_next(o));
    for (int i = 1; i < 20; i++)
        slot_release(&all, &eights[i]);
    CHECK(is_empty());
}

/* All of many leave from the middle, the front and the end of the queue; the rest goes in its order. */
static void test_many(void)
{
    struct slot *slots = calloc(MANY, sizeof *slots);
    struct slot *first;
    int left = 0;
    int in_order = 0;
    CHECK(slots != NULL);
    for (int i = 0; i < MANY; i++)
        left += slot_request(&all, &slots[i], here, 1);
    CHECK(left == MANY);
    for (int i = 0; i < MANY; i++)
        if (i % 3 != 1)
            slot_release(&all, &slots[i]);
    for (int i = 1; i < MANY; i += 3) {
        in_order += go(slots[i].origin, &first) == 1 && first == &slots[i];
        slot_release(&all, &slots[i]);
    }
    CHECK(in_order == (MANY + 1) / 3 && is_empty());
    free(slots);
}

int main(void)
{
    test_one_after_the_other();
    test_origins();
    test_numbers();
    test_many();
    return check_result();
}
