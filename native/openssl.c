/* Looks OpenSSL's functions up in the running process. */
#define _GNU_SOURCE
#include "openssl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

/* OpenSSL 3 to 4; others that offer the same names say 1 or 2. */
enum { OLDEST = 3, NEWEST = 4 };

static struct openssl functions;
static bool usable;

static bool find(void) {
#define FIND(result, name, arguments) \
  { \
    void *found = dlsym(RTLD_DEFAULT, #name); \
    if (found == NULL) return false; \
    *(void **)&functions.name = found; \
  }
  OPENSSL_FUNCTIONS(FIND)
#undef FIND
  /* OPENSSL_VERSION_NUMBER(3): the major version is in the highest four bits. */
  unsigned long major = functions.OpenSSL_version_num() >> 28;
  return major >= OLDEST && major <= NEWEST;
}

static void look(void) { usable = find(); }

const struct openssl *openssl(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, look);
  return usable ? &functions : NULL;
}
