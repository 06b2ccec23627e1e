/* The version stands in lua/bulkjob.lua; the Makefile and the rockspec hand it on. */
#ifndef BULKJOB_VERSION_H
#define BULKJOB_VERSION_H

#ifndef BULKJOB_VERSION
#error "build by the Makefile or the rockspec, which say -DBULKJOB_VERSION=..."
#endif

#define BJ_TEXT(tokens) #tokens
#define BJ_EXPANDED_TEXT(macro) BJ_TEXT(macro)
#define BJ_VERSION BJ_EXPANDED_TEXT(BULKJOB_VERSION)

#endif
