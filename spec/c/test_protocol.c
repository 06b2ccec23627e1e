/* Explores the job protocol: a driver like the one of l_drive.c, against a model of the service, and every order of
 * events that there can be.
 *
 * The service: a job with its state and its data. A request whose answer is lost takes effect now, at any later moment,
 * or never. The job moves on by itself, and somebody else may close, abort, fill or delete it at any moment. The host
 * may give up at any moment, and may make other calls on the same handle afterwards.
 *
 * A node is all that is known at one moment; an edge is one event. The first part visits every node that can be reached
 * with few tries; since equal nodes are visited once, that covers sequences of any length. The second part walks at
 * random, with more tries and with time passing.
 *
 * Not in the model, so nothing here says anything about it: what a response means (see test_verdict.c) and the loads
 * that are built on jobs. */
#include "../../src/job.h"

#include "check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { VERBS = VERB_DELETE + 1, TEXTS = 2, CLEANUP_TRIES = 2 };

/* What a job can hold: one of our two texts (the same file before and after somebody changed it), or somebody else's.
 */
enum { TEXT_ONE = 1, TEXT_TWO = 2, TEXT_OTHER = 4 };

enum phase { PHASE_SEND, PHASE_TOKEN, PHASE_IDLE, PHASE_END };

struct service {
    enum job_state state;
    bool gone;
    int contents; /* TEXT_… that have arrived */
    bool ours_closed;
    int jobs; /* made by our creates */
};

/* Requests of ours that were lost and have not arrived yet. */
struct late {
    int count[VERBS];
    int text[TEXTS]; /* of VERB_UPLOAD */
};

/* As in l_job.h. */
struct handle {
    bool ours;
    enum job_state state;
    int closes;
    int aborts;
    struct bodies bodies;
};

struct node {
    struct service service;
    struct late late; /* of the call at hand */
    struct late old;  /* of calls before it */
    struct handle handle;
    struct verb_run run;
    enum phase phase;
    int calls;      /* made so far, the one at hand counted */
    int requests;   /* of the call at hand */
    int bodies;     /* whole bodies of the call at hand that may have arrived */
    int text;       /* TEXT_… of its last request */
    int texts;      /* TEXT_… of the bodies of this call that went out whole */
    bool once;      /* its body cannot be sent again */
    bool automatic; /* nobody asked for it */
    /* What only the checks need. */
    bool took_effect; /* a request of this call did, though its answer was lost */
    bool lost;        /* a request of this call was */
    bool unread;      /* a close or abort was lost, and the state was not read since */
    bool doubtful;    /* a request of this call that commits was lost, or given up while it was out */
    bool ended;    /* the last request left no more to send: refused for good, or with the wish for too long a pause */
    bool over;     /* the time of the call was */
    bool paused;   /* since the verb was sent, or a new token was got */
    bool answered; /* the last request of the verb itself was answered OK */
    enum job_state seen; /* by the last good response of this call */
    /* How it was reached. */
    const char *what;
    int from;
};

/* ---- what has to hold ---- */

enum {
    CLOSE_SHOWN,
    ABORT_SHOWN,
    UPLOAD_SHOWN,
    DELETE_SHOWN,
    CREATE_SHOWN,
    DOUBT_KEPT,
    DOUBT_EARNED,
    DOUBT_ENDED,
    EFFECT_TOLD,
    FULL_ONCE,
    READ_BEFORE_REPEAT,
    ABORT_SURE,
    STRAYS_COUNTED,
    BODY_REPEATABLE,
    TRIES_KEPT,
    REFUSAL_FINAL,
    TIME_KEPT,
    REPEAT_PAUSED,
    REQUESTS_BOUNDED,
    PAUSE_SANE,
    TOKEN_ONCE,
    NO_EMPTY_DONE,
    RULES
};

static const char *const rules[RULES] = {
    [CLOSE_SHOWN] = "a close succeeds only when the job was closed, and when a state past Open was seen",
    [ABORT_SHOWN] = "an abort succeeds only when the job is Aborted, and when that was seen",
    [UPLOAD_SHOWN] = "an upload succeeds only when the job holds these data",
    [DELETE_SHOWN] = "a delete succeeds only when the job is gone",
    [CREATE_SHOWN] = "a create succeeds only when it was answered",
    [DOUBT_KEPT] = "a call whose request may still have its effect ends in doubt",
    [DOUBT_EARNED] = "a call is in doubt only when a request of it that commits was lost",
    [DOUBT_ENDED] = "a state that leaves nothing to do ends the doubt",
    [EFFECT_TOLD] = "a call that failed though it had its effect is in doubt, or shows the state",
    [FULL_ONCE] = "a create with data is sent again only when the one before was answered or never went out",
    [READ_BEFORE_REPEAT] = "a close or abort that was lost is sent again only after the state was read",
    [ABORT_SURE] = "a job is aborted unasked only when it is ours and no close of ours was, or may be, carried out",
    [STRAYS_COUNTED] = "the jobs that a create may have left are counted",
    [BODY_REPEATABLE] = "a body is sent again only when it can be read again",
    [TRIES_KEPT] = "the verb itself is sent as often as the policy says, and once more for a new token",
    [REFUSAL_FINAL] =
        "the verb is not sent again after a refusal for good, or when the service asks for too long a pause",
    [TIME_KEPT] = "nothing is sent when the time is over",
    [REPEAT_PAUSED] = "there is a pause before the verb is sent again, but for a new token",
    [REQUESTS_BOUNDED] = "a call ends within (tries + 1) * (tries + 1) + 1 requests",
    [PAUSE_SANE] = "a pause is between 0 and ten minutes",
    [TOKEN_ONCE] = "a new token is asked for once, after the old one was refused, and only where one can be had",
    [NO_EMPTY_DONE] = "only an answer is success, or for an upload or a delete the refusal that shows it",
};

static unsigned long broken[RULES];
static unsigned long edges;
static unsigned long sequences;

/* The nodes of the first part, or of the walk at hand. */
static struct node *nodes;
static size_t node_count;
static size_t node_room;

static const char *verb_names[VERBS] = {"read",  "create", "create with data", "create of a query", "upload", "close",
                                        "abort", "delete"};

static void print_way(const struct node *n)
{
    if (n->from >= 0)
        print_way(&nodes[n->from]);
    const char *state = job_state_name(n->service.state);
    printf("#     %s (%s): %s%s%s\n", n->what, verb_names[n->run.verb], state ? state : "no job",
           n->service.gone ? ", gone" : "", n->run.in_doubt ? ", in doubt" : "");
}

static void rule(int which, const struct node *n, bool holds)
{
    if (holds)
        return;
    if (broken[which]++ == 0) {
        printf("# broken: %s\n", rules[which]);
        print_way(n);
    }
}

/* ---- choices ---- */

/* The choices of one event: tried one after the other, or made at random. */
static struct {
    int at[16];
    int of[16];
    int count;
    int used;
    bool random;
    uint64_t seed;
} choices;

static unsigned roll(unsigned n)
{
    choices.seed = choices.seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(choices.seed >> 33) % n;
}

static int choose(int n)
{
    if (choices.random)
        return (int)roll((unsigned)n);
    if (choices.used == choices.count) {
        choices.at[choices.count] = 0;
        choices.of[choices.count++] = n;
    }
    return choices.at[choices.used++];
}

/* The same, but at random mostly the first, so that walks get far. */
static int choose_first(int n)
{
    return choices.random && roll(4) != 0 ? 0 : choose(n);
}

/* On to the next combination. False: that was the last. */
static bool choose_next(void)
{
    choices.used = 0;
    while (choices.count > 0 && choices.at[choices.count - 1] + 1 == choices.of[choices.count - 1])
        choices.count--;
    if (choices.count == 0)
        return false;
    choices.at[choices.count - 1]++;
    return true;
}

/* ---- the service ---- */

static bool is_past_open(enum job_state s)
{
    return s == STATE_UPLOAD_COMPLETE || s == STATE_IN_PROGRESS || s == STATE_JOB_COMPLETE || s == STATE_FAILED;
}

/* Can an abort still do something? */
static bool is_abortable(enum job_state s)
{
    return s == STATE_OPEN || s == STATE_UPLOAD_COMPLETE || s == STATE_IN_PROGRESS;
}

/* Is there only one text, or none, in the job? */
static bool is_single(int contents)
{
    return (contents & (contents - 1)) == 0;
}

/* Carries out a request, if the state allows it. */
static bool carry_out(struct service *s, enum verb verb, int text)
{
    switch (verb) {
    case VERB_CREATE:
    case VERB_CREATE_FULL:
    case VERB_QUERY:
        s->jobs++;
        return true;
    case VERB_READ:
        return !s->gone;
    case VERB_UPLOAD:
        if (s->gone || s->state != STATE_OPEN)
            return false;
        s->contents |= text;
        return true;
    case VERB_CLOSE:
        if (s->gone || s->state != STATE_OPEN || !is_single(s->contents))
            return false;
        s->state = STATE_UPLOAD_COMPLETE;
        return true;
    case VERB_ABORT:
        if (s->gone || !is_abortable(s->state))
            return false;
        s->state = STATE_ABORTED;
        return true;
    case VERB_DELETE:
        if (s->gone || s->state == STATE_IN_PROGRESS)
            return false;
        s->gone = true;
        return true;
    }
    return false;
}

/* The same for one of ours. */
static bool carry_out_ours(struct node *n, enum verb verb, int text)
{
    if (!carry_out(&n->service, verb, text))
        return false;
    n->service.ours_closed = n->service.ours_closed || verb == VERB_CLOSE;
    return true;
}

/* One of those that are late arrives, or is lost for good. False: there is none to choose. */
static bool arrive(struct node *n)
{
    bool of_this_call = choose(2) == 0;
    struct late *late = of_this_call ? &n->late : &n->old;
    enum verb verb = (enum verb)choose(VERBS);
    int text = verb == VERB_UPLOAD ? choose(TEXTS) : 0;
    if (late->count[verb] == 0 || (verb == VERB_UPLOAD && late->text[text] == 0))
        return false;
    late->count[verb]--;
    if (verb == VERB_UPLOAD)
        late->text[text]--;
    if (carry_out_ours(n, verb, 1 << text) && of_this_call)
        n->took_effect = true;
    return true;
}

/* Something happens at the service that no request of this handle does now. False: not in this state. */
static bool happen(struct node *n)
{
    struct service *s = &n->service;
    switch (choose(7)) {
    case 0:
        n->what = "a late request arrives";
        return arrive(n);
    case 1:
        n->what = "the job begins to run";
        if (s->gone || s->state != STATE_UPLOAD_COMPLETE)
            return false;
        s->state = STATE_IN_PROGRESS;
        return true;
    case 2:
        n->what = "the job comes to its end";
        if (s->gone || s->state != STATE_IN_PROGRESS)
            return false;
        s->state = choose(2) == 0 ? STATE_JOB_COMPLETE : STATE_FAILED;
        return true;
    case 3:
        n->what = "somebody else closes it";
        return carry_out(s, VERB_CLOSE, 0);
    case 4:
        n->what = "somebody else aborts it";
        return carry_out(s, VERB_ABORT, 0);
    case 5:
        n->what = "somebody else deletes it";
        return carry_out(s, VERB_DELETE, 0);
    case 6:
        /* That nobody else fills a job that we made is part of the promise. */
        n->what = "somebody else fills it";
        return !n->handle.ours && !(s->contents & TEXT_OTHER) && carry_out(s, VERB_UPLOAD, TEXT_OTHER);
    }
    return false;
}

/* ---- the end of a call ---- */

static bool has_doubt(const struct node *n)
{
    const struct service *s = &n->service;
    return (n->late.count[VERB_CLOSE] > 0 && !s->gone && s->state == STATE_OPEN) ||
           (n->late.count[VERB_ABORT] > 0 && !s->gone && is_abortable(s->state)) || n->late.count[VERB_CREATE_FULL] > 0;
}

static void check_success(const struct node *n, enum plan plan)
{
    const struct service *s = &n->service;
    switch (n->run.verb) {
    case VERB_CLOSE:
        rule(CLOSE_SHOWN, n, is_past_open(n->seen) && (is_past_open(s->state) || s->state == STATE_ABORTED));
        break;
    case VERB_ABORT:
        rule(ABORT_SHOWN, n, n->seen == STATE_ABORTED && s->state == STATE_ABORTED);
        break;
    case VERB_UPLOAD:
        /* A file may change between two tries. What arrived first is what this call has uploaded. */
        if (plan == PLAN_DONE)
            rule(UPLOAD_SHOWN, n, s->contents & n->text);
        else
            rule(UPLOAD_SHOWN, n, is_single(s->contents) && (s->contents & (n->text | n->texts)));
        break;
    case VERB_DELETE:
        rule(DELETE_SHOWN, n, s->gone);
        break;
    case VERB_CREATE:
    case VERB_QUERY:
    case VERB_CREATE_FULL:
        rule(CREATE_SHOWN, n, n->answered && s->jobs > 0);
        break;
    case VERB_READ:
        break;
    }
    bool by_refusal = n->run.verb == VERB_UPLOAD || n->run.verb == VERB_DELETE;
    bool by_look = (n->run.verb == VERB_CLOSE || n->run.verb == VERB_ABORT) && n->seen != STATE_UNKNOWN;
    rule(NO_EMPTY_DONE, n,
         plan == PLAN_DONE_EARLIER ? by_refusal && (n->lost || n->calls > 1) : n->answered || by_look);
    rule(DOUBT_KEPT, n, !has_doubt(n));
}

static void check_failure(const struct node *n, enum plan plan, bool doubt)
{
    bool shown = plan == PLAN_FAIL_STATE && !n->run.gone && n->run.verb == VERB_CLOSE && n->seen == STATE_ABORTED;
    bool told = n->took_effect || n->answered;
    rule(DOUBT_KEPT, n, doubt || !has_doubt(n));
    rule(DOUBT_EARNED, n, !doubt || n->doubtful);
    rule(DOUBT_ENDED, n, !doubt || n->seen == STATE_UNKNOWN || n->seen == STATE_OPEN || is_abortable(n->seen));
    rule(EFFECT_TOLD, n, !told || doubt || shown || !verb_commits(n->run.verb));
}

static void check_strays(const struct node *n, bool good)
{
    if (n->run.verb != VERB_CREATE)
        return;
    int made = n->service.jobs + n->late.count[VERB_CREATE];
    rule(STRAYS_COUNTED, n, made - good <= n->run.lost_sends);
}

static void end_call(struct node *n, enum plan plan, bool doubt)
{
    bool good = plan == PLAN_DONE || plan == PLAN_DONE_EARLIER;
    if (good)
        check_success(n, plan);
    else
        check_failure(n, plan, doubt);
    /* One that was given up while it was out is no stray that the error counts: the host knows that it was out. */
    if (plan != PLAN_SEND)
        check_strays(n, good);
    n->phase = PHASE_IDLE;
}

/* ---- the driver ---- */

static const struct retry_policy *policy;
static int most_calls;

static void begin_call(struct node *n, enum verb verb, bool automatic)
{
    struct retry_policy tries = *policy;
    if (automatic && tries.tries > CLEANUP_TRIES)
        tries.tries = CLEANUP_TRIES;
    verb_begin(&n->run, verb, &tries, n->run.renewable);
    for (int v = 0; v < VERBS; v++)
        n->old.count[v] += n->late.count[v];
    for (int t = 0; t < TEXTS; t++)
        n->old.text[t] += n->late.text[t];
    memset(&n->late, 0, sizeof n->late);
    n->phase = PHASE_SEND;
    n->calls++;
    n->requests = 0;
    n->bodies = 0;
    n->texts = 0;
    n->automatic = automatic;
    n->took_effect = n->unread = n->doubtful = n->answered = n->lost = n->ended = n->over = false;
    n->paused = true;
    n->seen = STATE_UNKNOWN;
}

static bool is_surely_open(const struct handle *h)
{
    return h->ours && h->state == STATE_OPEN && h->closes == 0;
}

/* As note_request() in l_drive.c. */
static void note_request(struct node *n, struct answer *a, bool whole)
{
    struct handle *h = &n->handle;
    const char digest[DIGEST_BODY_HEX + 1] = {(char)('0' + n->text), '\0'};
    bool may_be_there = a->lost || a->outcome == OUTCOME_OK;
    if (n->run.step != STEP_SEND)
        return;
    if (n->run.verb == VERB_CLOSE && !may_be_there)
        h->closes--;
    if (n->run.verb == VERB_ABORT && !a->sent)
        h->aborts--;
    if (n->run.verb == VERB_UPLOAD && whole && may_be_there) {
        n->bodies++;
        n->texts |= n->text;
        bodies_add(&h->bodies, digest);
    }
    a->contents_ours = a->has_contents && h->ours && bodies_are(&h->bodies, whole ? digest : h->bodies.digest) &&
                       (whole || n->bodies > 0);
}

static void follow(struct node *n, enum plan plan)
{
    switch (plan) {
    case PLAN_SEND:
        n->phase = PHASE_SEND;
        rule(PAUSE_SANE, n, n->run.pause >= 0 && n->run.pause <= 600);
        n->paused = n->paused || n->run.pause > 0;
        return;
    case PLAN_TOKEN:
        n->phase = PHASE_TOKEN;
        return;
    case PLAN_DONE:
    case PLAN_DONE_EARLIER:
    case PLAN_FAIL:
    case PLAN_FAIL_STATE:
        end_call(n, plan, n->run.in_doubt);
        return;
    }
}

/* ---- one request and its answer ---- */

enum fate { NEVER, NOW, LATER };

/* The request is lost: does it have its effect? */
static void lose(struct node *n, enum fate fate, struct answer *a)
{
    a->lost = n->lost = true;
    n->doubtful = n->doubtful || verb_commits(n->run.verb);
    n->unread = (n->run.verb == VERB_CLOSE || n->run.verb == VERB_ABORT) && a->outcome != OUTCOME_DEAD_TOKEN;
    if (fate == NOW && carry_out_ours(n, n->run.verb, n->text))
        n->took_effect = true;
    if (fate == LATER) {
        n->late.count[n->run.verb]++;
        if (n->run.verb == VERB_UPLOAD)
            n->late.text[n->text / 2]++;
    }
}

/* The service does what was asked, or says what is in the way. */
static void serve(struct node *n, struct answer *a)
{
    struct service *s = &n->service;
    enum verb verb = n->run.verb;
    bool is_patch = verb == VERB_CLOSE || verb == VERB_ABORT;
    enum job_state wanted = verb == VERB_CLOSE ? STATE_UPLOAD_COMPLETE : STATE_ABORTED;
    a->outcome = OUTCOME_FAILED;
    n->what = "the service answers";
    if (s->gone && verb != VERB_CREATE && verb != VERB_CREATE_FULL && verb != VERB_QUERY) {
        a->not_found = true;
    } else if (verb == VERB_UPLOAD && s->contents && choose(2) == 0) { /* or it takes a second body, too */
        a->has_contents = true;
    } else if (verb == VERB_CLOSE && s->state == STATE_OPEN && !is_single(s->contents)) {
        a->has_contents = true;
    } else if (carry_out_ours(n, verb, n->text) || (is_patch && s->state == wanted)) {
        a->outcome = OUTCOME_OK;
        a->state = verb == VERB_CREATE             ? STATE_OPEN
                   : verb == VERB_CREATE_FULL      ? STATE_UPLOAD_COMPLETE
                   : is_patch || verb == VERB_READ ? s->state
                                                   : STATE_UNKNOWN;
    } else {
        a->wrong_state = is_patch || verb == VERB_UPLOAD;
    }
}

/* What comes of the request of the verb itself. `whole`: of an upload, whether its body went out whole. */
static void answer_send(struct node *n, struct answer *a, bool *whole)
{
    static const enum outcome outcomes[] = {OUTCOME_RETRY, OUTCOME_FAILED, OUTCOME_DEAD_TOKEN};
    int which = choose(8);
    a->sent = true;
    *whole = true;
    switch (which) {
    case 0:
        serve(n, a);
        *whole = a->outcome == OUTCOME_OK || n->run.verb != VERB_UPLOAD || choose(2) == 0;
        return;
    case 1: {
        n->what = "lost";
        a->outcome = outcomes[choose(3)];
        enum fate fate = (enum fate)choose(3);
        *whole = fate != NEVER || choose(2) == 0;
        a->retry_after = a->outcome == OUTCOME_RETRY && choose(2) == 0 ? 3600 : -1;
        lose(n, fate, a);
        return;
    }
    case 2:
        n->what = "lost, and the time is over";
        a->outcome = OUTCOME_RETRY;
        a->over = true;
        lose(n, (enum fate)choose(3), a);
        return;
    case 3:
        n->what = "never sent";
        a->outcome = outcomes[choose(2)];
        a->sent = *whole = false;
        return;
    case 4:
        n->what = "never sent, and the time is over";
        a->outcome = OUTCOME_RETRY;
        a->over = true;
        a->sent = *whole = false;
        return;
    case 5:
        n->what = "refused";
        a->outcome = outcomes[choose(3)];
        return;
    case 6:
        n->what = "refused, to be tried again much later";
        a->outcome = OUTCOME_RETRY;
        a->retry_after = 3600;
        return;
    case 7:
        n->what = "refused for a state that the job is not in";
        a->outcome = OUTCOME_FAILED;
        a->wrong_state = true;
        return;
    }
}

static void answer_look(struct node *n, struct answer *a)
{
    static const enum outcome outcomes[] = {OUTCOME_RETRY, OUTCOME_FAILED, OUTCOME_DEAD_TOKEN};
    a->sent = true;
    switch (choose_first(6)) {
    case 0:
        n->what = "the state is read";
        a->outcome = n->service.gone ? OUTCOME_FAILED : OUTCOME_OK;
        a->not_found = n->service.gone;
        a->state = n->service.gone ? STATE_UNKNOWN : n->service.state;
        return;
    case 1:
        n->what = "the state cannot be read";
        a->outcome = outcomes[choose(3)];
        a->lost = choose(2) == 0;
        return;
    case 2:
        n->what = "404 though the job is there";
        a->outcome = OUTCOME_FAILED;
        a->not_found = true;
        return;
    case 3:
        n->what = "a state that nobody knows";
        a->outcome = OUTCOME_OK;
        return;
    case 4:
        n->what = "the state cannot be read, and the time is over";
        a->outcome = OUTCOME_RETRY;
        a->lost = a->over = true;
        return;
    case 5:
        n->what = "the state cannot be read for long";
        a->outcome = OUTCOME_RETRY;
        a->retry_after = 3600;
        return;
    }
}

static void check_request(const struct node *n)
{
    int tries = n->run.policy.tries;
    rule(REQUESTS_BOUNDED, n, n->requests <= (tries + 1) * (tries + 1) + 1);
    rule(TIME_KEPT, n, !n->over);
    if (n->run.step != STEP_SEND)
        return;
    rule(TRIES_KEPT, n, n->run.sends < tries + n->run.token_renewed);
    rule(REFUSAL_FINAL, n, !n->ended);
    rule(REPEAT_PAUSED, n, n->paused);
    rule(FULL_ONCE, n, n->run.verb != VERB_CREATE_FULL || !n->doubtful);
    rule(READ_BEFORE_REPEAT, n, !n->unread);
    rule(BODY_REPEATABLE, n, n->run.verb != VERB_UPLOAD || !n->once || n->run.sends == 0);
}

/* As start_request() and take_response() in l_drive.c. False: not sent. */
static bool request(struct node *n)
{
    struct handle *h = &n->handle;
    bool whole = false;
    struct answer a = {.retry_after = -1, .can_repeat = !n->once};
    bool send = n->run.step == STEP_SEND;
    n->requests++;
    check_request(n);
    if (send)
        n->paused = choices.random; /* there, a pause may be 0 */
    if (send && n->run.verb == VERB_CLOSE)
        h->closes++;
    if (send && n->run.verb == VERB_ABORT)
        h->aborts++;
    if (send && n->run.verb == VERB_UPLOAD)
        n->text = n->run.sends == 0 && n->calls == 1 ? TEXT_ONE : 1 << choose(TEXTS);
    n->answered = false;
    if (send)
        answer_send(n, &a, &whole);
    else
        answer_look(n, &a);
    if (a.outcome == OUTCOME_OK) {
        n->answered = send;
        n->seen = a.state;
        if (n->run.verb == VERB_CLOSE || n->run.verb == VERB_ABORT || n->run.verb == VERB_READ)
            h->state = a.state;
    }
    if (!send && a.outcome == OUTCOME_OK)
        n->unread = false;
    note_request(n, &a, whole);
    n->over = a.over;
    if (send) {
        bool patch = n->run.verb == VERB_CLOSE || n->run.verb == VERB_ABORT;
        bool refused = a.outcome == OUTCOME_FAILED && a.sent && !a.lost;
        n->ended = a.retry_after > 600 || (refused && !(a.wrong_state && patch));
    }
    bool had_token = n->run.token_renewed;
    enum plan plan = verb_next(&n->run, &a, choices.random ? roll(1000) / 1000.0 : 0.5);
    rule(TOKEN_ONCE, n, plan != PLAN_TOKEN || (!had_token && n->run.renewable && a.outcome == OUTCOME_DEAD_TOKEN));
    follow(n, plan);
    return true;
}

/* The host gives up, with a request out or between two. */
static void give_up(struct node *n, bool out)
{
    bool doubt = verb_would_doubt(&n->run, out);
    n->what = out ? "given up while it was out" : "given up";
    if (out) {
        struct answer a = {.outcome = OUTCOME_FAILED, .sent = true, .retry_after = -1};
        n->requests++;
        if (n->run.step == STEP_SEND) {
            if (n->run.verb == VERB_CLOSE)
                n->handle.closes++;
            if (n->run.verb == VERB_ABORT)
                n->handle.aborts++;
            n->text = TEXT_ONE;
            lose(n, (enum fate)choose(3), &a);
        }
    }
    end_call(n, PLAN_SEND, doubt);
}

/* The call is over, and the host makes another, or leaves the scope of the job. */
static bool go_on(struct node *n)
{
    bool about_job = n->run.verb == VERB_CLOSE || n->run.verb == VERB_ABORT || n->run.verb == VERB_UPLOAD;
    if (choose(2) == 0) {
        n->what = "the scope is left";
        if (n->automatic || !about_job || !is_surely_open(&n->handle)) {
            n->phase = PHASE_END;
            return true;
        }
        const struct service *s = &n->service;
        bool may_close = !s->gone && s->state == STATE_OPEN;
        rule(ABORT_SURE, n,
             n->handle.ours && !s->ours_closed &&
                 !(may_close && (n->late.count[VERB_CLOSE] || n->old.count[VERB_CLOSE])));
        if (n->run.verb == VERB_ABORT) { /* it would be the same once more */
            n->phase = PHASE_END;
            return true;
        }
        /* What is left of uploads changes nothing for an abort, so such nodes are one. */
        n->old.count[VERB_UPLOAD] = n->late.count[VERB_UPLOAD] = 0;
        memset(n->old.text, 0, sizeof n->old.text);
        memset(n->late.text, 0, sizeof n->late.text);
        memset(&n->handle.bodies, 0, sizeof n->handle.bodies);
        n->service.contents = TEXT_ONE;
        n->text = 0;
        n->calls = 1;
        begin_call(n, VERB_ABORT, true);
        return true;
    }
    if (n->automatic || !about_job || n->calls >= most_calls)
        return false;
    n->what = "another call";
    static const enum verb others[] = {VERB_CLOSE, VERB_ABORT, VERB_READ, VERB_UPLOAD};
    enum verb verb = others[choose(4)];
    if (verb == VERB_CLOSE && n->handle.aborts > 0) /* such a handle refuses it */
        return false;
    begin_call(n, verb, false);
    return true;
}

/* One event. False: there is none for these choices. */
static bool step(struct node *n)
{
    /* Nothing at the service matters for those that make a job or change none. */
    bool still = n->run.verb == VERB_CREATE || n->run.verb == VERB_QUERY || n->run.verb == VERB_CREATE_FULL;
    if (!still && choose(2) == 0)
        return happen(n);
    switch (n->phase) {
    case PHASE_SEND:
        switch (choose_first(3)) {
        case 0:
            return request(n);
        case 1:
            give_up(n, false);
            return true;
        case 2:
            give_up(n, true);
            return true;
        }
        return false;
    case PHASE_TOKEN:
        if (choose_first(2) == 0) {
            n->what = "a new token";
            n->paused = true;
            n->phase = PHASE_SEND;
        } else {
            give_up(n, false);
            n->what = "there is no new token";
        }
        return true;
    case PHASE_IDLE:
        return go_on(n);
    case PHASE_END:
        break;
    }
    return false;
}

/* ---- where it begins ---- */

static struct node first_node(enum verb verb, bool ours, bool renewable, bool once)
{
    struct node n;
    memset(&n, 0, sizeof n);
    bool makes = verb == VERB_CREATE || verb == VERB_CREATE_FULL || verb == VERB_QUERY;
    n.from = -1;
    n.what = "begins";
    n.service.state = makes ? STATE_UNKNOWN : STATE_OPEN;
    n.service.contents = verb == VERB_CLOSE ? TEXT_ONE : 0;
    n.handle.ours = ours;
    n.handle.state = ours && !makes ? STATE_OPEN : STATE_UNKNOWN;
    if (n.service.contents) {
        const char digest[DIGEST_BODY_HEX + 1] = {'0' + TEXT_ONE, '\0'};
        bodies_add(&n.handle.bodies, digest);
    }
    n.run.renewable = renewable;
    n.once = once;
    begin_call(&n, verb, false);
    return n;
}

/* ---- part one: everything ---- */

/* All that tells two nodes apart, in few bytes. Counts beyond 3 do not occur. */
enum { KEY = 40 };

static void make_key(const struct node *n, unsigned char key[KEY])
{
    const struct verb_run *r = &n->run;
    const struct service *s = &n->service;
    const struct handle *h = &n->handle;
    int i = 0;
    memset(key, 0, KEY);
#define PUT(value) key[i++] = (unsigned char)(value)
#define PUT8(a, b, c, d, e, f, g, k) \
    PUT((a) | (b) << 1 | (c) << 2 | (d) << 3 | (e) << 4 | (f) << 5 | (g) << 6 | (k) << 7)
    PUT((int)r->verb | (int)r->step << 4);
    PUT(r->policy.tries);
    PUT(r->sends);
    PUT(r->lost_sends);
    PUT(r->failures);
    PUT8(r->renewable, r->token_renewed, r->wrong_state, r->spent, r->gone, r->in_doubt, r->paused > 0, n->once);
    PUT((int)s->state | s->gone << 4 | s->ours_closed << 5);
    PUT(s->contents);
    PUT(s->jobs);
    for (int v = 0; v < VERBS; v++)
        PUT(n->late.count[v] | n->old.count[v] << 4);
    for (int t = 0; t < TEXTS; t++)
        PUT(n->late.text[t] | n->old.text[t] << 4);
    PUT((int)h->state | h->ours << 4 | h->bodies.differ << 5);
    PUT(h->closes | h->aborts << 4);
    PUT(h->bodies.whole | (h->bodies.digest[0] & 7) << 4);
    PUT((int)n->phase | n->calls << 4);
    PUT(n->requests);
    PUT(n->bodies | n->text << 4 | n->texts << 6);
    PUT8(n->automatic, n->took_effect, n->unread, n->doubtful, n->answered, n->lost, n->ended, n->paused);
    PUT(n->seen);
#undef PUT8
#undef PUT
}

/* The nodes that were visited: places in `nodes` plus one, by the hash of their keys. */
static uint32_t *table;
static size_t table_size;
static unsigned char (*keys)[KEY];

static void *grown(void *old, size_t count, size_t each)
{
    void *p = realloc(old, count * each);
    if (!p) {
        puts("not ok test_protocol.c: not enough memory");
        exit(2);
    }
    return p;
}

static size_t place_of(const unsigned char key[KEY])
{
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < KEY; i++)
        h = (h ^ key[i]) * 1099511628211u;
    size_t at = (size_t)(h ^ h >> 32) & (table_size - 1);
    while (table[at] && memcmp(keys[table[at] - 1], key, KEY) != 0)
        at = (at + 1) & (table_size - 1);
    return at;
}

static void grow_table(void)
{
    table_size = table_size ? table_size * 2 : 1 << 16;
    free(table);
    table = grown(NULL, table_size, sizeof *table);
    memset(table, 0, table_size * sizeof *table);
    for (size_t i = 0; i < node_count; i++)
        table[place_of(keys[i])] = (uint32_t)i + 1;
}

static void visit(const struct node *n)
{
    unsigned char key[KEY];
    if (node_count * 2 >= table_size)
        grow_table();
    if (node_count == node_room) {
        node_room = node_room ? node_room * 2 : 1 << 14;
        nodes = grown(nodes, node_room, sizeof *nodes);
        keys = grown(keys, node_room, sizeof *keys);
    }
    make_key(n, key);
    size_t at = place_of(key);
    if (table[at])
        return;
    memcpy(keys[node_count], key, KEY);
    nodes[node_count++] = *n;
    table[at] = (uint32_t)node_count;
}

static bool is_over_bound(void)
{
    return broken[REQUESTS_BOUNDED] || broken[TRIES_KEPT];
}

/* Every node that can be reached from this one. */
static void explore(struct node first)
{
    node_count = 0;
    if (table)
        memset(table, 0, table_size * sizeof *table);
    visit(&first);
    for (size_t i = 0; i < node_count && !is_over_bound(); i++) {
        choices.count = 0;
        choices.used = 0;
        do {
            struct node n = nodes[i];
            n.from = (int)i;
            if (step(&n)) {
                edges++;
                visit(&n);
            }
        } while (choose_next());
    }
}

/* From each verb, or with more than one call from those that others follow. */
static void explore_all(int tries, int calls)
{
    const struct retry_policy p = {.tries = tries, .base = 1, .cap = 4};
    policy = &p;
    most_calls = calls;
    unsigned long before = edges;
    unsigned long seen = 0;
    for (int verb = 0; verb < VERBS; verb++)
        for (int variant = 0; variant < 8; variant++) {
            bool once = variant & 4;
            if ((once && verb != VERB_UPLOAD) ||
                (calls > 1 && ((verb != VERB_CLOSE && verb != VERB_ABORT) || variant & 2)))
                continue;
            explore(first_node((enum verb)verb, variant & 1, variant & 2, once));
            seen += node_count;
        }
    printf("# %d tries, %d calls: %lu moments, %lu events between them\n", tries, calls, seen, edges - before);
}

/* ---- part two: at random ---- */

static void walk(int tries, unsigned rounds)
{
    const struct retry_policy p = {.tries = tries, .base = 1, .cap = 30};
    enum { LONGEST = 2000 };
    policy = &p;
    most_calls = 4;
    choices.random = true;
    node_room = node_room < LONGEST ? LONGEST : node_room;
    nodes = grown(nodes, node_room, sizeof *nodes);
    for (unsigned round = 0; round < rounds && !is_over_bound(); round++) {
        nodes[0] = first_node((enum verb)roll(VERBS), roll(4) != 0, roll(2), roll(4) == 0);
        size_t last = 0;
        for (int idle = 0; nodes[last].phase != PHASE_END && last + 1 < LONGEST && idle < LONGEST; idle++) {
            struct node n = nodes[last];
            n.from = (int)last;
            if (step(&n)) {
                nodes[++last] = n;
                idle = 0;
                edges++;
            }
        }
        sequences++;
        rule(REQUESTS_BOUNDED, &nodes[last], nodes[last].phase == PHASE_END);
    }
    choices.random = false;
}

int main(void)
{
    explore_all(1, 1);
    explore_all(2, 1);
    explore_all(1, 2);
    static const int many[] = {3, 5, 10};
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        choices.seed = 20 + i;
        walk(many[i], 200000);
    }
    printf("# %lu sequences at random, %lu events in all\n", sequences, edges);
    for (int i = 0; i < RULES; i++)
        check_one(broken[i] == 0, rules[i], __FILE__, __LINE__);
    free(nodes);
    free(keys);
    free(table);
    return check_result();
}
