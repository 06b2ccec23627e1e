/* Files by their paths: none of these waits for a program at the other end of a pipe, and none replaces what is no
 * regular file. */
#ifndef BULKJOB_FILES_H
#define BULKJOB_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Why something failed: an errno, or one of these. 0: it did not. */
enum {
    FILE_NOT_REGULAR = -1, /* where only a regular file is of use */
    FILE_NO_INPUT = -2,    /* the same, where text is read from it, which a function can give too */
    FILE_NO_READER = -3,   /* no program has this pipe open for reading */
    FILE_REPLACED = -4,    /* somebody put another file in the place of ours */
};

/* In words, to stand behind the path. */
const char *file_error(int why);

/* Opens a regular file for reading. Answers the descriptor, or -1 and *why. */
int file_open_input(const char *path, off_t *size, int *why);

/* Opens a regular file of our own, made when it is not there, to write at its end, and read. A symbolic link is
 * refused. Answers the descriptor, or -1 and *why. */
int file_open_own(const char *path, mode_t mode, int *why);

/* Makes what the directory of `path` says outlast a power cut. Not every file system can: then nothing happens. */
void file_sync_directory(const char *path);

/* Gives the last line of a file the line end of its first when it has none: more lines are to follow. 0, or why not. */
int file_end_last_line(int fd);

/* A file that is being written. It has another name, beside its own, until it is finished, so that whoever looks sees
 * the old file or the finished new one. A path that is no regular file (a pipe, a terminal, a device) is written to
 * directly. */
struct output {
    int fd;       /* of the part; when direct, of the path, and then never blocking */
    char *target; /* owned; the path, with symbolic links at its end followed */
    char *part;   /* owned; NULL: direct, or over */
    bool direct;
};

/* Would that path be written to directly? Not when nothing can be found out about it. */
bool output_is_direct(const char *path);

/* Begins the file `path`. The new file gets the permissions of the old one, or those that open() gives. The name of the
 * part is `path`.bulkjob-part, or one that nobody can guess when that is taken. 0, or why not. */
int output_begin(struct output *o, const char *path);

/* Writes. Answers how many bytes that were: 0 when a pipe is full for now; -1 and *why for a failure. */
ssize_t output_write(struct output *o, const char *data, size_t n, int *why);

/* Gives the finished file its name, in one step and for good. Not for what is direct. 0, or why not; then it is as good
 * as discarded. */
int output_publish(struct output *o);

/* Ends it; what was not published is removed. Twice is harmless. */
void output_discard(struct output *o);

/* Gives a finished file the name `path`, in one step and for good, with the permissions that output_begin would give.
 * 0, or why not: FILE_NOT_REGULAR when the path would be written to directly, EXDEV when it is on another file system.
 */
int file_publish(const char *from, const char *path);

#endif
