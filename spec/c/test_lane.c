/* Lanes: who may go, in which order, and that nothing is left behind. */
#include "../../src/lane.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { MANY = 20000 };

static const char here[] = "https://here.example/services/data";
static struct lanes all;

/* Lets all go that may, and answers how many those are. The first of them comes out in *first. */
static int go(struct lane *l, struct place **first)
{
    int n = 0;
    struct place *p;
    *first = NULL;
    while ((p = lane_next(l))) {
        if (!*first)
            *first = p;
        n++;
    }
    return n;
}

static bool is_empty(void)
{
    for (int i = 0; i < LANE_BUCKETS; i++)
        if (all.buckets[i])
            return false;
    return true;
}

static void test_one_after_the_other(void)
{
    struct place a = {0};
    struct place b = {0};
    struct place c = {0};
    struct place *first;
    CHECK(lane_enter(&all, &a, here, 2) && lane_enter(&all, &b, here, 2) && lane_enter(&all, &c, here, 2));
    CHECK(go(a.lane, &first) == 2 && first == &a && a.under_way && b.under_way && !c.under_way);
    struct lane *l = lane_leave(&all, &a);
    CHECK(l && go(l, &first) == 1 && first == &c);
    CHECK(lane_leave(&all, &b) == l && lane_leave(&all, &c) == NULL && is_empty());
}

static void test_origins(void)
{
    static const char *const urls[] = {"https://a.example/x", "https://a.example?x", "https://a.example:444/x",
                                       "http://a.example/x",  "https://b.example",   "b.example"};
    struct place places[6];
    struct place *first;
    memset(places, 0, sizeof places);
    for (int i = 0; i < 6; i++)
        CHECK(lane_enter(&all, &places[i], urls[i], 1));
    CHECK(places[0].lane == places[1].lane);
    for (int i = 1; i < 6; i++)
        for (int j = i + 1; j < 6; j++)
            CHECK(places[i].lane != places[j].lane);
    for (int i = 1; i < 6; i++)
        CHECK(go(places[i].lane, &first) == 1);
    for (int i = 0; i < 6; i++)
        lane_leave(&all, &places[i]);
    CHECK(is_empty());
}

/* Clients with other numbers neither hold each other up nor add up. */
static void test_numbers(void)
{
    struct place ones[3];
    struct place eights[20];
    struct place *first;
    int running = 0;
    memset(ones, 0, sizeof ones);
    memset(eights, 0, sizeof eights);
    for (int i = 0; i < 3; i++)
        CHECK(lane_enter(&all, &ones[i], here, 1));
    for (int i = 0; i < 20; i++)
        CHECK(lane_enter(&all, &eights[i], here, 8));
    struct lane *l = ones[0].lane;
    CHECK(go(l, &first) == 8 && first == &ones[0]);
    CHECK(!ones[1].under_way && eights[6].under_way && !eights[7].under_way);
    /* The client with 1 gets its turn although the one with 8 always has more to do. */
    lane_leave(&all, &ones[0]);
    CHECK(lane_next(l) == &ones[1] && !lane_next(l));
    lane_leave(&all, &eights[0]);
    CHECK(lane_next(l) == &eights[7] && !lane_next(l));
    for (int i = 0; i < 20; i++)
        running += eights[i].under_way;
    CHECK(running == 7);
    /* One that waits goes away, and nobody else gets a place by that. */
    lane_leave(&all, &ones[2]);
    CHECK(!lane_next(l));
    lane_leave(&all, &ones[1]);
    CHECK(lane_next(l) == &eights[8] && !lane_next(l));
    for (int i = 1; i < 20; i++)
        lane_leave(&all, &eights[i]);
    CHECK(is_empty());
}

/* All of many leave from the middle, the front and the end of the queue; the rest goes in its order. */
static void test_many(void)
{
    struct place *places = calloc(MANY, sizeof *places);
    struct place *first;
    int left = 0;
    int in_order = 0;
    CHECK(places != NULL);
    for (int i = 0; i < MANY; i++)
        left += lane_enter(&all, &places[i], here, 1);
    CHECK(left == MANY);
    for (int i = 0; i < MANY; i++)
        if (i % 3 != 1)
            lane_leave(&all, &places[i]);
    for (int i = 1; i < MANY; i += 3) {
        in_order += go(places[i].lane, &first) == 1 && first == &places[i];
        lane_leave(&all, &places[i]);
    }
    CHECK(in_order == (MANY + 1) / 3 && is_empty());
    free(places);
}

int main(void)
{
    test_one_after_the_other();
    test_origins();
    test_numbers();
    test_many();
    return check_result();
}
