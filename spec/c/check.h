/* What the C unit tests share: a check that counts, and a last line that says how many. */
#ifndef BULKJOB_CHECK_H
#define BULKJOB_CHECK_H

#include <stdio.h>

static int checks_passed;
static int checks_failed;

#define CHECK(condition) check_one((condition), #condition, __FILE__, __LINE__)

static void check_one(int ok, const char *text, const char *file, int line)
{
    if (ok) {
        checks_passed++;
        return;
    }
    checks_failed++;
    printf("not ok %s:%d: %s\n", file, line, text);
}

static int check_result(void)
{
    printf("%d passed, %d failed\n", checks_passed, checks_failed);
    return checks_failed || !checks_passed;
}

#endif
