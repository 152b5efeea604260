/* Capabilities of the calling thread (capabilities(7)): each thread has its own, and gives them to those that it starts. */
#ifndef COUNTERSIGN_CAPABILITIES_H
#define COUNTERSIGN_CAPABILITIES_H

#include <stdint.h>

/* The capabilities that this thread has in effect and those it may put in effect, as bits by their numbers; 0 or an errno. */
int capabilities_get(uint64_t *effective, uint64_t *permitted);
/* Has these and no others from now on; no program that the thread executes gains any (PR_SET_NO_NEW_PRIVS). 0 or an errno. */
int capabilities_set(uint64_t effective, uint64_t permitted);
/* Gives up for good what is permitted and not in effect: for a thread that has what it needs and starts to work. */
void capabilities_seal(void);
/* No core dump of this process has its memory, and nobody without CAP_SYS_PTRACE looks into it (PR_SET_DUMPABLE). 0 or an errno. */
int process_hide_memory(void);

#endif
