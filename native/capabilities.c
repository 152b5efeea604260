/* capget(2) and capset(2); glibc has no functions for them. */
#define _GNU_SOURCE
#include "capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORDS = _LINUX_CAPABILITY_U32S_3 };

static uint64_t both(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

int capabilities_get(uint64_t *effective, uint64_t *permitted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[WORDS] = {0};
  if (syscall(SYS_capget, &header, data) != 0) return errno;
  *effective = both(data[0].effective, data[1].effective);
  *permitted = both(data[0].permitted, data[1].permitted);
  return 0;
}

static int set(uint64_t effective, uint64_t permitted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[WORDS];
  for (int word = 0; word < WORDS; word++) {
    data[word] = (struct __user_cap_data_struct){
        .effective = (uint32_t)(effective >> 32 * word), .permitted = (uint32_t)(permitted >> 32 * word)};
  }
  return syscall(SYS_capset, &header, data) == 0 ? 0 : errno;
}

int capabilities_set(uint64_t effective, uint64_t permitted) {
  int error = set(effective, permitted);
  if (error != 0) return error;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

void capabilities_seal(void) {
  uint64_t effective, permitted;
  if (capabilities_get(&effective, &permitted) == 0 && effective != permitted) set(effective, effective);
}

int process_hide_memory(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno; }
