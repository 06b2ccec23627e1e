#include "../../src/retry.h"

#include "check.h"

#include <string.h>

static const struct retry_policy policy = {.tries = 4, .base = 1, .cap = 5};

static void test_ceiling(void)
{
    double pause = -1;
    CHECK(retry_allowed(&policy, 1, 0, -1, 0.999, &pause) && pause > 0.99 && pause < 1);
    CHECK(retry_allowed(&policy, 2, 0, -1, 0.999, &pause) && pause > 1.9 && pause < 2);
    CHECK(retry_allowed(&policy, 3, 0, -1, 0.999, &pause) && pause > 3.9 && pause < 4);
    CHECK(!retry_allowed(&policy, 4, 0, -1, 0, &pause));
    struct retry_policy many = policy;
    many.tries = 100;
    CHECK(retry_allowed(&many, 50, 0, -1, 0.999, &pause) && pause > 4.9 && pause < 5);
}

static void test_full_jitter(void)
{
    double pause = -1;
    CHECK(retry_allowed(&policy, 3, 0, -1, 0, &pause) && pause == 0);
    CHECK(retry_allowed(&policy, 3, 0, -1, 0.5, &pause) && pause == 2);
}

static void test_retry_after(void)
{
    double pause = -1;
    CHECK(retry_allowed(&policy, 1, 0, 7, 0.5, &pause) && pause == 7);
    CHECK(retry_allowed(&policy, 3, 0, 1, 0.5, &pause) && pause == 2);
    CHECK(retry_allowed(&policy, 1, 0, 600, 0, &pause) && pause == 600);
    CHECK(!retry_allowed(&policy, 1, 0, 601, 0, &pause));
    CHECK(!retry_allowed(&policy, 1, 3599, 2, 0, &pause));
}

static double after(const char *text)
{
    return retry_after_seconds(text, strlen(text), 1772615727); /* Wed, 04 Mar 2026 09:15:27 GMT */
}

static void test_header(void)
{
    CHECK(after("0") == 0);
    CHECK(after("120") == 120);
    CHECK(after("Wed, 04 Mar 2026 09:16:27 GMT") == 60);
    CHECK(after("Wed, 04 Mar 2026 09:15:00 GMT") == 0);
    CHECK(after("") == -1);
    CHECK(after("soon") == -1);
    CHECK(after("-5") == -1);
    CHECK(after("1.5") == -1);
    CHECK(after("00000000000000000000000000000000000000000000000000000000000000000000000001") == -1);
    CHECK(retry_after_seconds("12xx", 2, 0) == 12);
}

int main(void)
{
    test_ceiling();
    test_full_jitter();
    test_retry_after();
    test_header();
    return check_result();
}
