/*
 * pipe-quota UID: as that user, takes pipes until the kernel gives it small ones (pipe(7), /proc/sys/fs/pipe-user-pages-soft), says so, and holds them
 * until standard input ends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 8192, LARGE = 1 << 20, DEFAULT = 64 << 10 };

int main(int count, char **words) {
  struct rlimit files;
  if (count != 2 || getrlimit(RLIMIT_NOFILE, &files) != 0) return 2;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  unsigned uid = (unsigned)atol(words[1]);
  if (setgid(uid) != 0 || setuid(uid) != 0) return 2;
  for (int i = 0; i < MOST; i++) {
    int ends[2];
    if (pipe(ends) != 0) return 1;
    fcntl(ends[1], F_SETPIPE_SZ, LARGE);
    if (fcntl(ends[1], F_GETPIPE_SZ) >= DEFAULT) continue;
    puts("full");
    fflush(stdout);
    while (getchar() != EOF) continue;
    return 0;
  }
  return 1;
}
