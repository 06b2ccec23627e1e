/* Numbers as text are written with a point on the wire, whatever locale the program has chosen. */
#ifndef BULKJOB_NUMERIC_H
#define BULKJOB_NUMERIC_H

#include <locale.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

/* From here on this thread, and no other, reads and writes numbers as C does: with a point. Answers what to give back
 * to numeric_leave. The program's own code must not run in between. */
locale_t numeric_enter(void);
void numeric_leave(locale_t before);

#endif
