#include "../../src/mask.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static int masked(const char *text, const char *secret, const char *expected)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    mask_secret(copy, strlen(copy), secret, strlen(secret));
    return strcmp(copy, expected) == 0;
}

static int without_credentials(const char *text, const char *expected)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    mask_credentials(copy, strlen(copy));
    return strcmp(copy, expected) == 0;
}

static void test_credentials(void)
{
    CHECK(without_credentials("Proxy-Authorization: Basic bWU6eA== ; Accept: */*",
                              "Proxy-Authorization: Basic ******** ; Accept: */*"));
    CHECK(
        without_credentials("{\"authorization\":\"bearer  00D!x.y_z\"}", "{\"authorization\":\"bearer  *********\"}"));
    CHECK(without_credentials("HTTP_PROXY_AUTHORIZATION=BASIC bWU6/+8", "HTTP_PROXY_AUTHORIZATION=BASIC *******"));
    CHECK(without_credentials("Authorization: Basic a, Authorization: Bearer b",
                              "Authorization: Basic *, Authorization: Bearer *"));
    CHECK(without_credentials("Authorization: Basic ", "Authorization: Basic "));
    CHECK(without_credentials("Authorization: Bas", "Authorization: Bas"));
    CHECK(without_credentials("Basic authentication is needed", "Basic authentication is needed"));
    CHECK(without_credentials("no authorization for basic needs", "no authorization for basic needs"));
    CHECK(without_credentials("", ""));
}

int main(void)
{
    test_credentials();
    CHECK(masked("Bearer 00D!x.y", "00D!x.y", "Bearer *******"));
    CHECK(masked("00D!x00D!x 00D!", "00D!x", "********** 00D!"));
    CHECK(masked("nothing", "secret", "nothing"));
    CHECK(masked("", "secret", ""));
    CHECK(masked("text", "", "text"));
    /* Each writer escapes other characters: encodeURIComponent leaves "!", a form has "+" for a blank. */
    CHECK(masked("a=Pa%21ss%2B1;", "Pa!ss+1", "a=***********;"));
    CHECK(masked("a=Pa!ss%2b1;", "Pa!ss+1", "a=*********;"));
    CHECK(masked("a=%50a!ss+1;", "Pa!ss+1", "a=*********;"));
    CHECK(masked("two+words two%20words two words", "two words", "********* *********** *********"));
    CHECK(masked("a%2Fb a%2fb a/b", "a/b", "***** ***** ***"));
    /* Escaped once more, where one URL was put into another. */
    CHECK(masked("a=Pa%2521ss%252B1;", "Pa!ss+1", "a=***************;"));
    CHECK(masked("a=Pa%252521ss+1;", "Pa!ss+1", "a=*************;"));
    CHECK(masked("Pa%25%21", "Pa!", "Pa%25%21"));
    CHECK(masked("Pa%252", "Pa!", "Pa%252"));
    /* A secret that looks escaped itself. */
    CHECK(masked("a%41b a%2541b aAb", "a%41b", "***** ******* aAb"));
    CHECK(masked("a%25b", "a%25b", "*****"));
    /* Cut off: neither is it there, nor is anything read behind the end. */
    CHECK(masked("Pa%2", "Pa+", "Pa%2"));
    CHECK(masked("Pa%", "Pa%", "***"));
    CHECK(masked("Pa", "Pa!", "Pa"));
    return check_result();
}
