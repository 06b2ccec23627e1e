#include "../../src/markup.h"

#include "check.h"

#include <string.h>

static int element_is(const char *text, const char *name, const char *expected)
{
    size_t len;
    const char *content = markup_element(text, strlen(text), name, &len);
    if (!content || !expected)
        return content == expected;
    return len == strlen(expected) && memcmp(content, expected, len) == 0;
}

static int words_are(const char *text, size_t room, const char *expected)
{
    char out[256];
    size_t n = markup_words(text, strlen(text), out, room);
    return n == strlen(expected) && strcmp(out, expected) == 0;
}

int main(void)
{
    const char *xml = "<?xml version=\"1.0\"?><Errors><Error><errorCode>NOT_FOUND</errorCode>"
                      "<message>no such thing</message></Error></Errors>";
    CHECK(element_is(xml, "errorCode", "NOT_FOUND"));
    CHECK(element_is(xml, "message", "no such thing"));
    CHECK(element_is(xml, "exceptionCode", NULL));
    CHECK(element_is("<error xmlns=\"x\"><exceptionCode a=\"1\">Bad</exceptionCode></error>", "exceptionCode", "Bad"));
    CHECK(element_is("<errorCode", "errorCode", NULL));
    CHECK(element_is("<errorCode>cut", "errorCode", NULL));
    CHECK(element_is("", "errorCode", NULL));
    CHECK(words_are("<h1>Bad Message 431</h1><pre>reason: Request\n  Header</pre>", 256,
                    "Bad Message 431 reason: Request Header"));
    CHECK(words_are("<html><script>var a = '<b>';</script><style>b{}</style><p>Down</p>", 256, "Down"));
    CHECK(words_are("<script>never closed", 256, ""));
    CHECK(words_are("plain", 256, "plain"));
    CHECK(words_are("plain text", 8, "plain t"));
    CHECK(words_are("<unclosed", 256, ""));
    CHECK(words_are("a &lt;b&gt; &amp;amp; &quot;c&apos; &#39;&#x26;", 256, "a <b> &amp; \"c' '&"));
    CHECK(words_are("&nbsp; & &; &# &#; &#x; &#999; &#xyz; &lt", 256, "&nbsp; & &; &# &#; &#x; &#999; &#xyz; &lt"));
    return check_result();
}
