/* What both ends of the benchmark's load program share: load.c calls, load-serve.c answers. */
#ifndef COUNTERSIGN_BENCH_LOAD_H
#define COUNTERSIGN_BENCH_LOAD_H

#define EVENTS 256
#define CHUNK (128 * 1024)
/* The byte that ends a stream for the sink, which answers it. */
#define LAST '!'

/* Says what failed and why, and ends the program. */
void die(const char *what);

/* The application at the other end: answers until it is killed. */
void serve(const char *port);

#endif
