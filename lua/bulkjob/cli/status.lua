--- What the command answers to the shell.
return { GOOD = 0, SOME_FAILED = 1, USAGE = 2, REFUSED = 3, INTERRUPTED = 130 }
